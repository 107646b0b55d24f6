#![allow(clippy::unwrap_used)]

use super::*;

fn read(toml: &str, with: impl FnOnce(&mut Fields<'_>)) -> Vec<String> {
    let mut mistakes = Mistakes::default();
    let mut fields = Fields::root(toml.parse().unwrap(), &mut mistakes);
    with(&mut fields);
    fields.finish();
    mistakes.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_listed() {
    let told = read("a = 1\nfsp = 2\n[s]\nx = 'y'\nlong = 'y'\n", |fields| {
        assert_eq!(fields.take("a", boolean()), None);
        assert_eq!(fields.take("fps", whole(1..=3)), None);
        assert_eq!(fields.need("c", text()), None);
        let mut section = fields.section("s");
        section.mistake("x", "no");
        assert_eq!(section.take("x", text()).as_deref(), Some("y"));
        section.finish();
    });
    let expected = [
        "a: expected true or false, found 1",
        "c: missing: expected a text in quotes",
        "s.x: no",
        "s.long: unknown; known here: x",
        "fsp: unknown; did you mean `fps`?",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_missing_table_is_one_mistake() {
    let told = read("b = 3", |fields| {
        for field in ["a", "b"] {
            let mut section = fields.need_section(field);
            assert_eq!(section.need("x", text()), None);
            section.finish();
        }
        let mut section = fields.section("c");
        assert_eq!(section.take("x", text()), None);
        section.finish();
    });
    assert_eq!(told, ["a: missing: expected a table", "b: expected a table, found 3"]);
}

#[test]
fn tables_in_a_row_are_numbered() {
    let mut seen = Vec::new();
    let told = read("c = [{ n = 1 }, 5, { n = 2, m = 3 }]", |fields| {
        fields.sections("c", |mut each| {
            seen.extend(each.take("n", whole(0..=9)));
            each.finish();
        });
    });
    assert_eq!(seen, [1, 2]);
    assert_eq!(told, ["c[1]: expected a table, found 5", "c[2].m: unknown; did you mean `n`?"]);
    assert_eq!(read("c = 1", |fields| fields.sections("c", |_| ())), ["c: expected [[c]] tables, found 1"]);
}

#[test]
fn what_is_not_there_or_wrong_changes_nothing() {
    let (mut a, mut b) = (1, 2);
    read("b = 'x'", |fields| {
        fields.set(&mut a, "a", whole(0..=9));
        fields.set(&mut b, "b", whole(0..=9));
    });
    assert_eq!((a, b), (1, 2));
    read("a = 3", |fields| fields.set(&mut a, "a", whole(0..=9)));
    assert_eq!(a, 3);
}

#[test]
fn forms_read_what_they_say() {
    assert_eq!(
        whole(0..=255u8).read(&Value::Integer(256)).unwrap_err(),
        "expected a whole number from 0 to 255, found 256"
    );
    assert!(whole(-1..=1i8).read(&Value::Integer(i64::MAX)).is_err());
    assert_eq!(fraction().read(&Value::Integer(1)), Ok(1.0));
    assert!(number().read(&Value::Float(f64::NAN)).is_err());
    assert!(text().read(&Value::String(String::new())).is_err());
    let kinds = || word([("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(kinds().read(&Value::String("b".to_owned())), Ok(2));
    assert_eq!(kinds().read(&Value::Integer(1)).unwrap_err(), "expected \"a\", \"b\" or \"c\", found 1");
    let list_of = list(whole(1..=2));
    assert_eq!(list_of.read(&"[2, 1]".parse().unwrap()), Ok(vec![2, 1]));
    let wrong = list_of.read(&"[1, 3]".parse().unwrap()).unwrap_err();
    assert!(wrong.ends_with("item 2: expected a whole number from 1 to 2, found 3"), "{wrong}");
    let pair = exactly::<2, _>("two numbers", number());
    assert_eq!(pair.read(&"[1, 2]".parse().unwrap()), Ok([1.0, 2.0]));
    assert_eq!(pair.read(&"[1]".parse().unwrap()).unwrap_err(), "expected two numbers, found [1]");
    let address = parsed::<std::net::SocketAddr>("HOST:PORT").read(&Value::String("x".to_owned())).unwrap_err();
    assert!(address.starts_with("expected HOST:PORT, found \"x\": "), "{address}");
}

#[test]
fn long_values_are_cut_in_messages() {
    let told = boolean().read(&Value::String("ä".repeat(500))).unwrap_err();
    assert!(told.ends_with('…') && told.chars().count() < 100, "{told}");
}

#[test]
fn a_flag_says_the_same_as_a_field() {
    let rate = || word([("all", 0)]).or(whole(1..=240));
    assert_eq!(rate().read(&Value::Integer(5)), rate().parse("5"));
    assert_eq!(rate().read(&Value::String("all".to_owned())), rate().parse("all"));
    assert_eq!(rate().parse("0").unwrap_err(), "expected \"all\", or a whole number from 1 to 240, found \"0\"");
    assert_eq!(text().parse("5"), Ok("5".to_owned()));
    assert_eq!(boolean().parse("true"), Ok(true));
}

#[test]
fn distances_are_edits() {
    assert_eq!(distance("fps", "fps"), 0);
    assert_eq!(distance("fps", "fsp"), 2);
    assert_eq!(distance("", "ab"), 2);
}
