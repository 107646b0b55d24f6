//! A camera as people write it: in `[[camera]]` of a configuration file, in what `detektor cameras apply` reads, and in the
//! admin API. It says where a camera is and where its secrets are; what it says is not acted upon here.

mod url;

use std::path::PathBuf;

use detektor_contract::{CameraId, DetectPolicy, EventRules, KeepVideo, Label, Sampling, Score};
use toml::{Table, Value};

use crate::fields::{Fields, Form, Mistakes, boolean, exactly, fraction, list, parsed, text, whole, word};

pub use url::{InvalidUrl, Kind, SourceUrl};

/// Settings that every camera has unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub struct CameraDefaults {
    /// What to look at and keep.
    pub policy: DetectPolicy,
    /// When detections become events.
    pub rules: EventRules,
}

/// One camera.
#[derive(Clone, Debug)]
pub struct CameraSpec {
    /// Its name.
    pub id: CameraId,
    /// Where it is: `rtsp://…`, `http://…`, `file:PATH` or a path.
    pub url: String,
    /// Who we are to it, unless the URL says so.
    pub user: Option<String>,
    /// Where our password for it is.
    pub password: Option<Password>,
    /// Play a file at its own speed instead of as fast as it can be taken.
    pub real_time: bool,
    /// How often to play a file; none goes on for ever.
    pub passes: Option<u64>,
    /// RTSP over UDP instead of TCP.
    pub rtsp_udp: bool,
    /// How many clients at a time it serves; none if it does not mind.
    pub sessions: Option<u32>,
    /// What to look at and keep.
    pub policy: DetectPolicy,
    /// When detections become events.
    pub rules: EventRules,
}

/// Where a camera's password is. What is stored and shown names it and does not hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Password {
    /// In a file.
    File(PathBuf),
    /// In an environment variable of the dispatcher.
    Variable(String),
}

impl CameraSpec {
    /// A camera with everything else at its default.
    pub fn new(id: CameraId, url: String, defaults: &CameraDefaults) -> Self {
        let CameraDefaults { policy, rules } = defaults.clone();
        Self {
            id,
            url,
            user: None,
            password: None,
            real_time: false,
            passes: Some(1),
            rtsp_udp: false,
            sessions: None,
            policy,
            rules,
        }
    }

    /// Reads one camera's table. None where it has no name or no URL; every mistake is noted.
    pub fn read(mut fields: Fields<'_>, defaults: &CameraDefaults) -> Option<Self> {
        let id = fields.need("name", parsed::<CameraId>("a camera's name"));
        let url = fields.need("url", text());
        let mut own = defaults.clone();
        read_policy(fields.section("detect"), &mut own.policy);
        read_rules(fields.section("events"), &mut own.rules);
        let user = fields.take("user", text());
        let file = fields.take("password_file", text()).map(|path| Password::File(PathBuf::from(path)));
        let variable = fields.take("password_variable", text()).map(Password::Variable);
        if file.is_some() && variable.is_some() {
            fields.mistake("password_variable", "given beside password_file: one of them is enough");
        }
        let password = file.or(variable);
        if user.is_some() != password.is_some() {
            fields.mistake("user", "goes together with password_file or password_variable");
        }
        let real_time = fields.take("real_time", boolean()).unwrap_or(false);
        let passes = fields.take("loop", passes()).unwrap_or(Some(1));
        let rtsp_udp = fields.take("rtsp_udp", boolean()).unwrap_or(false);
        let sessions = fields.take("sessions", whole(1..=1_000));
        fields.finish();
        Some(Self { user, password, real_time, passes, rtsp_udp, sessions, ..Self::new(id?, url?, &own) })
    }

    /// What is wrong with it taken together: the field, and the problem.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems: Vec<(&'static str, String)> = Vec::new();
        problems.extend(self.policy.mistakes().iter().map(|problem| ("detect", problem.to_string())));
        problems.extend(self.rules.mistakes().iter().map(|problem| ("events", problem.to_string())));
        if self.passes == Some(0) {
            problems.push(("loop", "0 plays nothing".to_owned()));
        }
        if let Err(error) = self.url.parse::<SourceUrl>() {
            problems.push(("url", error.to_string()));
        }
        problems
    }

    /// The same, and credentials in its URL: what is stored is shown, and holds no secret.
    fn problems_stored(&self) -> Vec<(&'static str, String)> {
        let mut problems = self.problems();
        if self.url.parse::<SourceUrl>().is_ok_and(|url| url.has_credentials()) {
            let instead =
                "names a user or a password: give `user`, and `password_file` or `password_variable`, beside it";
            problems.push(("url", instead.to_owned()));
        }
        problems
    }

    /// Notes what is wrong with it taken together.
    pub fn mistakes(&self, mistakes: &mut Mistakes) {
        self.note(self.problems(), mistakes);
    }

    fn note(&self, problems: Vec<(&'static str, String)>, mistakes: &mut Mistakes) {
        for (field, problem) in problems {
            mistakes.add(format!("camera {}", self.id), format!("{field}: {problem}"));
        }
    }
}

/// What `detektor cameras apply` reads: cameras, and what they all have unless they say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraFile {
    /// Each camera's name, and its table as JSON with the common settings put in: what [`parse_spec`] reads.
    pub cameras: Vec<(CameraId, String)>,
}

impl CameraFile {
    /// Reads YAML, or TOML where `name` ends in `.toml`. Both have `cameras` (a list), and beside it `detect` and `events`
    /// for all of them.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let table: Result<Table, String> = match name.ends_with(".toml") {
            true => text.parse().map_err(|error: toml::de::Error| error.to_string()),
            false => serde_saphyr::from_str(text).map_err(|error| error.to_string()),
        };
        let mut table = match table {
            Ok(table) => table,
            Err(error) => {
                mistakes.add(name, error);
                return Err(mistakes);
            }
        };
        for camera in table.get_mut("cameras").and_then(Value::as_array_mut).into_iter().flatten() {
            tidy(camera);
        }
        let mut defaults = CameraDefaults::default();
        let common: Vec<(&str, Option<Value>)> =
            COMMON.into_iter().map(|section| (section, table.get(section).cloned())).collect();
        let tables = table.get("cameras").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut specs = Vec::new();
        let mut fields = Fields::root(table, &mut mistakes);
        read_policy(fields.section("detect"), &mut defaults.policy);
        read_rules(fields.section("events"), &mut defaults.rules);
        fields.sections("cameras", |fields| specs.push(CameraSpec::read(fields, &defaults)));
        fields.finish();
        let mut cameras: Vec<(CameraId, String)> = Vec::with_capacity(specs.len());
        for (spec, own) in specs.into_iter().zip(tables) {
            let (Some(spec), Value::Table(own)) = (spec, own) else { continue };
            spec.note(spec.problems_stored(), &mut mistakes);
            if cameras.iter().any(|(other, _)| *other == spec.id) {
                mistakes.add(format!("camera {}", spec.id), "given twice");
            }
            match serde_json::to_string(&with_common(own, &common)) {
                Ok(text) => cameras.push((spec.id, text)),
                Err(error) => mistakes.add(format!("camera {}", spec.id), error),
            }
        }
        if cameras.is_empty() && mistakes.0.is_empty() {
            mistakes.add("cameras", "none in it");
        }
        mistakes.finish().map(|()| Self { cameras })
    }
}

/// Sections that a camera shares with others.
const COMMON: [&str; 2] = ["detect", "events"];

/// A camera's table, with the common settings that it does not have itself.
fn with_common(mut own: Table, common: &[(&str, Option<Value>)]) -> Table {
    for (section, shared) in common {
        let Some(Value::Table(shared)) = shared else { continue };
        let mut merged = shared.clone();
        if let Some(Value::Table(mine)) = own.remove(*section) {
            merged.extend(mine);
        }
        own.insert((*section).to_owned(), Value::Table(merged));
    }
    own
}

/// YAML has no other numbers than JSON has: what TOML takes for a name may look like one.
fn tidy(camera: &mut Value) {
    if let Some(name) = camera.get_mut("name")
        && let Some(number) = name.as_integer()
    {
        *name = Value::String(number.to_string());
    }
}

/// One camera of the admin API as it is to be stored: its table in JSON, by the rules of a [`CameraFile`]. The name may be
/// left out of it.
///
/// # Errors
/// Everything that is wrong, by field.
pub fn stored(id: &CameraId, json: &[u8]) -> Result<String, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut table: Table = match serde_json::from_slice(json) {
        Ok(table) => table,
        Err(error) => {
            mistakes.add("camera", format!("expected one JSON object without nulls: {error}"));
            return Err(mistakes);
        }
    };
    if let Some(name) = table.insert("name".to_owned(), Value::String(id.to_string()))
        && name.as_str() != Some(id.as_str())
    {
        mistakes.add("name", format!("expected {id}, as in the path, or nothing"));
    }
    let spec = CameraSpec::read(Fields::root(table.clone(), &mut mistakes), &CameraDefaults::default());
    for (field, problem) in spec.iter().flat_map(CameraSpec::problems_stored) {
        mistakes.add(field, problem);
    }
    let text = serde_json::to_string(&table);
    match text {
        Ok(_) if !mistakes.0.is_empty() => Err(mistakes),
        Ok(text) => Ok(text),
        Err(error) => {
            mistakes.add("camera", error);
            Err(mistakes)
        }
    }
}

/// A camera as it was stored: the JSON of its table.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_spec(json: &str) -> Result<CameraSpec, Mistakes> {
    let mut mistakes = Mistakes::default();
    match serde_json::from_str::<Table>(json) {
        Ok(table) => {
            let spec = CameraSpec::read(Fields::root(table, &mut mistakes), &CameraDefaults::default());
            if let Some(spec) = spec {
                spec.mistakes(&mut mistakes);
                return mistakes.finish().map(|()| spec);
            }
        }
        Err(error) => mistakes.add("camera", error),
    }
    Err(mistakes)
}

/// Reads `[detect]`.
pub fn read_policy(mut fields: Fields<'_>, policy: &mut DetectPolicy) {
    fields.set(&mut policy.sampling, "fps", sampling());
    fields.set(&mut policy.gate, "gate", boolean());
    fields.set(&mut policy.store_score, "store_score", score());
    fields.set(&mut policy.labels, "labels", list(text().map(|name| Label::from(name.as_str()))));
    fields.set(&mut policy.masks, "masks", list(mask()));
    let keep = [("events", KeepVideo::Events), ("all", KeepVideo::All), ("none", KeepVideo::None)];
    fields.set(&mut policy.keep_video, "keep_video", word(keep));
    fields.set(&mut policy.max_age_ms, "max_age_ms", whole(1_000..=86_400_000).map(Some));
    fields.finish();
}

/// Reads `[events]`.
pub fn read_rules(mut fields: Fields<'_>, rules: &mut EventRules) {
    fields.set(&mut rules.report_score, "report_score", score());
    fields.set(&mut rules.open_score, "open_score", score());
    fields.set(&mut rules.open_looks, "open_looks", whole(1..=16));
    fields.set(&mut rules.open_window, "open_window", whole(1..=16));
    fields.set(&mut rules.lost_after_ms, "lost_after_ms", whole(100..=600_000));
    fields.set(&mut rules.stationary_after_ms, "stationary_after_ms", whole(100..=3_600_000));
    fields.set(&mut rules.stationary_misses, "stationary_misses", whole(1..=10_000));
    fields.finish();
}

/// A score, from 0 to 1.
pub fn score() -> Form<Score> {
    fraction().map(|score| Score::from_f32(score as f32))
}

/// `detect.fps`.
pub fn sampling() -> Form<Sampling> {
    word([("all", Sampling::All)]).or(whole(1..=240).map(Sampling::PerSecond))
}

/// `loop`: how often to play; none for ever.
fn passes() -> Form<Option<u64>> {
    word([("forever", None)]).or(whole(1..=u64::from(u32::MAX)).map(Some))
}

/// A rectangle in fractions of the picture.
fn mask() -> Form<[u16; 4]> {
    exactly("[x, y, width, height], each from 0 to 1", fraction())
        .map(|sides: [f64; 4]| sides.map(|side| (side * 10_000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const YAML: &str = "\
detect: { fps: 2, gate: false }
cameras:
  - name: gate
    url: rtsp://192.0.2.7/stream
    user: viewer
    password_variable: DETEKTOR_TEST_NO_SUCH_VARIABLE
    detect: { fps: all }
  - { name: 7, url: yard.mp4, loop: forever, sessions: 1 }
";

    #[test]
    fn what_is_stored_is_what_was_written() {
        let file = CameraFile::parse("cameras.yaml", YAML).unwrap();
        let specs: Vec<CameraSpec> = file.cameras.iter().map(|(_, json)| parse_spec(json).unwrap()).collect();
        assert_eq!(specs[0].policy.sampling, Sampling::All);
        assert!(!specs[0].policy.gate && !specs[1].policy.gate);
        assert_eq!((specs[1].id.as_str(), specs[1].passes, specs[1].sessions), ("7", None, Some(1)));
        assert_eq!(specs[0].password, Some(Password::Variable("DETEKTOR_TEST_NO_SUCH_VARIABLE".to_owned())));
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let yaml =
            "cameras:\n  - {name: a/b, url: x}\n  - {name: c, url: 'ftp://x'}\n  - {name: c, url: z.mp4, fps: 1}\n";
        let mistakes = CameraFile::parse("x.yaml", yaml).unwrap_err();
        let fields: Vec<&str> = mistakes.0.iter().map(|mistake| mistake.field.as_str()).collect();
        assert_eq!(fields, ["cameras[0].name", "cameras[2].fps", "camera c", "camera c"], "{mistakes}");
        assert!(CameraFile::parse("x.yaml", "cameras: [").unwrap_err().0[0].field == "x.yaml");
    }
    #[test]
    fn what_is_stored_holds_no_secret() {
        let file = CameraFile::parse("-", "cameras: [{name: a, url: 'rtsp://viewer:sesame@192.0.2.7/s'}]").unwrap_err();
        assert_eq!(file.0.len(), 1, "{file}");
        assert!(file.to_string().starts_with("camera a: url: names a user") && !file.to_string().contains("sesame"));
        let id = CameraId::new("a").unwrap();
        for url in ["rtsp://viewer:sesame@192.0.2.7/s", "https://viewer@192.0.2.7/s", "rtsp://:sesame@192.0.2.7/"] {
            let wrong = stored(&id, format!(r#"{{"url":"{url}","fps":1,"loop":0}}"#).as_bytes()).unwrap_err();
            let fields: Vec<&str> = wrong.0.iter().map(|mistake| mistake.field.as_str()).collect();
            assert_eq!(fields, ["loop", "fps", "url"], "{wrong}");
            assert!(!wrong.to_string().contains("sesame") && !wrong.to_string().contains("viewer@"), "{wrong}");
        }
    }

    #[test]
    fn the_admin_api_stores_what_a_file_would_have() {
        let id = CameraId::new("gate").unwrap();
        let file =
            CameraFile::parse("-", "cameras: [{name: gate, url: 'rtsp://192.0.2.7/s', detect: {fps: 2}}]").unwrap();
        for name in ["", r#""name":"gate","#] {
            let json = format!(r#"{{{name}"url":"rtsp://192.0.2.7/s","detect":{{"fps":2}}}}"#);
            assert_eq!(stored(&id, json.as_bytes()).unwrap(), file.cameras[0].1);
        }
        for (json, field) in [("{", "camera"), ("[]", "camera"), (r#"{"name":"b","url":"x"}"#, "name"), ("{}", "url")] {
            assert_eq!(stored(&id, json.as_bytes()).unwrap_err().0[0].field, field, "{json}");
        }
    }
}
