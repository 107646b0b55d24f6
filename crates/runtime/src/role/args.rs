//! The command line of whatever is configured by file, environment and flags. Flags win over the environment, that over the
//! file, that over the defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint};

use super::{Configured, InvalidConfig, SECTIONS};
use crate::fields::Mistakes;
use crate::fields::settings::{Described, describe, read_file, read_texts};

/// What a role or a tool was told on the command line and by the environment. As [`Args`], a flag and a variable for each
/// setting.
#[derive(Clone, Debug)]
pub struct Told<R> {
    file: Option<(PathBuf, Origin)>,
    /// By the settings' paths.
    texts: BTreeMap<String, (String, Origin)>,
    kind: PhantomData<fn() -> R>,
}

/// Where something was told. A later one counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// In a variable.
    Environment,
    /// As a flag.
    CommandLine,
}

impl<R> Told<R> {
    /// Where the most that counts was told; none where nothing was.
    pub fn origin(&self) -> Option<Origin> {
        let file = self.file.iter().map(|(_, origin)| *origin);
        file.chain(self.texts.values().map(|(_, origin)| *origin)).max()
    }

    /// What of it concerns a part that has some of these settings.
    pub fn part<P: Configured>(&self) -> Told<P> {
        let theirs: BTreeSet<String> = settings::<P>().into_iter().map(|setting| setting.path).collect();
        let texts = self.texts.iter().filter(|(path, _)| theirs.contains(*path));
        let texts = texts.map(|(path, told)| (path.clone(), told.clone())).collect();
        Told { file: self.file.clone(), texts, kind: PhantomData }
    }
}

impl<R: Configured> Told<R> {
    /// It, as it was told to be.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn resolve(&self) -> Result<R, InvalidConfig> {
        let (mut it, mut mistakes) = (R::default(), Mistakes::default());
        if let Some((path, _)) = &self.file {
            let name = path.display().to_string();
            let settings = settings::<R>();
            let own = |section: &str| settings.iter().any(|setting| setting.path.split('.').next() == Some(section));
            let others: Vec<&str> = SECTIONS.into_iter().filter(|section| !own(section)).collect();
            match std::fs::read_to_string(path) {
                Ok(text) => read_file(&mut it, &name, &text, &others, &mut mistakes),
                Err(error) => mistakes.add(name, format!("cannot be read: {error}")),
            }
        }
        let texts = self.texts.iter().map(|(path, (text, _))| (path.clone(), text.clone())).collect();
        read_texts(&mut it, &texts, &mut mistakes);
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
        let origin = |id: &str| match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::CommandLine,
            _ => Origin::Environment,
        };
        let told = |setting: Described| {
            let text = matches.get_one::<String>(&setting.path)?;
            let origin = origin(&setting.path);
            Some((setting.path, (text.clone(), origin)))
        };
        let texts = settings::<R>().into_iter().filter_map(told).collect();
        let file = matches.get_one::<PathBuf>("config").map(|path| (path.clone(), origin("config")));
        Ok(Self { file, texts, kind: PhantomData })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{BucketSettings, Servers};
    use super::*;
    use crate::fields::settings::{Settings, Visitor};

    /// A part that has some of the servers, and settings of its own.
    #[derive(Default)]
    struct Part {
        s3: BucketSettings,
        own: Own,
    }

    #[derive(Default)]
    struct Own {
        verbose: bool,
    }

    impl Settings for Part {
        fn visit(&mut self, visitor: &mut Visitor<'_>) {
            visitor.section("s3", &mut self.s3);
            visitor.section(Self::SECTION, &mut self.own);
        }
    }

    impl Settings for Own {
        fn visit(&mut self, visitor: &mut Visitor<'_>) {
            visitor.field("verbose", &mut self.verbose, crate::fields::boolean(), "Say more.");
        }
    }

    impl Configured for Part {
        const SECTION: &'static str = "events";

        fn mistakes(&self, _: &mut Mistakes) {}
    }

    fn told<R: Configured>(arguments: &[&str]) -> Told<R> {
        let command = Told::<R>::augment_args(Command::new("tool").no_binary_name(true));
        Told::from_arg_matches(&command.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    #[test]
    fn a_part_hears_what_concerns_it() {
        let own_alone = told::<Part>(&["--verbose"]);
        assert_eq!(own_alone.origin(), Some(Origin::CommandLine));
        assert_eq!(own_alone.part::<Servers>().origin(), None);
        let all = told::<Part>(&["--verbose", "--s3-bucket", "other"]);
        assert!(all.resolve().unwrap().own.verbose);
        let servers = all.part::<Servers>();
        assert_eq!(servers.origin(), Some(Origin::CommandLine));
        assert_eq!(servers.resolve().unwrap().s3.bucket, "other");
        assert_eq!(told::<Servers>(&[]).origin(), None);
        assert_eq!(told::<Part>(&["--config", "x"]).part::<Servers>().origin(), Some(Origin::CommandLine));
    }
}
