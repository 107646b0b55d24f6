//! The command line of whatever is configured by file, environment and flags. Flags win over the environment, that over the
//! file, that over the defaults.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint};

use super::{Configured, InvalidConfig, SECTIONS};
use crate::fields::Mistakes;
use crate::fields::settings::{Described, describe, read_file, read_texts};

/// What a role or a tool was told on the command line and by the environment. As [`Args`], a flag and a variable for each
/// setting.
#[derive(Clone, Debug)]
pub struct Told<R> {
    file: Option<PathBuf>,
    /// By the settings' paths.
    texts: BTreeMap<String, String>,
    kind: PhantomData<fn() -> R>,
}

impl<R: Configured> Told<R> {
    /// It, as it was told to be.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn resolve(&self) -> Result<R, InvalidConfig> {
        let (mut it, mut mistakes) = (R::default(), Mistakes::default());
        if let Some(path) = &self.file {
            let name = path.display().to_string();
            let settings = settings::<R>();
            let own = |section: &str| settings.iter().any(|setting| setting.path.split('.').next() == Some(section));
            let others: Vec<&str> = SECTIONS.into_iter().filter(|section| !own(section)).collect();
            match std::fs::read_to_string(path) {
                Ok(text) => read_file(&mut it, &name, &text, &others, &mut mistakes),
                Err(error) => mistakes.add(name, format!("cannot be read: {error}")),
            }
        }
        read_texts(&mut it, &self.texts, &mut mistakes);
        it.mistakes(&mut mistakes);
        mistakes.finish().map_err(InvalidConfig).map(|()| it)
    }
}

fn settings<R: Configured>() -> Vec<Described> {
    describe(&mut R::default())
}

/// A role's own settings need not name it again on its own command line.
fn flag<R: Configured>(setting: &Described) -> String {
    let flag = setting.flag();
    match flag.strip_prefix(R::SECTION).and_then(|rest| rest.strip_prefix('-')) {
        Some(own) => own.to_owned(),
        None => flag,
    }
}

impl<R: Configured> FromArgMatches for Told<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let told = |setting: Described| {
            let text = matches.get_one::<String>(&setting.path)?;
            Some((setting.path, text.clone()))
        };
        let texts = settings::<R>().into_iter().filter_map(told).collect();
        Ok(Self { file: matches.get_one::<PathBuf>("config").cloned(), texts, kind: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<R: Configured> Args for Told<R> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("DETEKTOR_CONFIG")
            .value_hint(ValueHint::FilePath)
            .value_parser(clap::value_parser!(PathBuf))
            .help("Read the configuration from this TOML file");
        settings::<R>().into_iter().fold(command.arg(file), |command, setting| {
            let default = setting.default.as_ref().map(|default| format!(" [default: {default}]")).unwrap_or_default();
            let mut arg = Arg::new(setting.path.clone())
                .long(flag::<R>(&setting))
                .env(setting.variable())
                .value_name("VALUE")
                .help(format!("{} Expects {}.{default}", setting.help, setting.expected));
            // `--flag` alone says yes.
            if setting.expected == "true or false" {
                arg = arg.num_args(0..=1).default_missing_value("true").require_equals(true);
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
