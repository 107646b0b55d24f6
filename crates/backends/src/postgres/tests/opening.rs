//! Opening and migrating.

use super::*;
use crate::conformance::samples::camera;

async fn refused(options: &PostgresOptions) -> StoreError {
    Postgres::open(options).await.err().expect("it opened")
}

/// Everything that is said, to the last cause.
fn whole(error: &StoreError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn what_is_not_migrated_says_what_to_run() {
    let base = Base::empty().await;
    let error = refused(&base.options).await;
    assert!(whole(&error).contains("run `detektor migrate`"), "{error}");
    // However many do it at once.
    futures::future::try_join_all((0..4).map(|_| Postgres::migrate(&base.options))).await.unwrap();
    let open = Postgres::open(&base.options).await.unwrap();
    let head = open.store().feed_head().await.unwrap();
    assert!(head.generation > 0);
    Postgres::migrate(&base.options).await.unwrap();
    assert_eq!(open.store().feed_head().await.unwrap(), head);
}

#[tokio::test]
async fn a_newer_schema_is_refused_once_it_no_longer_works() {
    let base = Base::fresh().await;
    let db = |statement: &'static str| base.inside(statement);
    db("UPDATE schema_version SET version = 99").await;
    Postgres::open(&base.options).await.unwrap().store().ping().await.unwrap();
    Postgres::migrate(&base.options).await.unwrap();
    db("UPDATE schema_version SET works_with = 98").await;
    assert!(matches!(refused(&base.options).await, StoreError::TooNew { found: 99, known: 2 }));
    let migrated = Postgres::migrate(&base.options).await;
    assert!(matches!(migrated, Err(StoreError::TooNew { found: 99, known: 2 })));
    db("UPDATE schema_version SET version = 0, works_with = 0").await;
    assert!(matches!(refused(&base.options).await, StoreError::Corrupt(_)));
}

#[tokio::test]
async fn a_damaged_document_is_corrupt_and_no_panic() {
    let base = Base::fresh().await;
    base.open().store().register_camera(&camera("gate"), "file:x").await.unwrap();
    base.inside("UPDATE cameras SET state = '{'").await;
    assert!(matches!(base.open().store().cameras().await, Err(StoreError::Corrupt(_))));
}

#[tokio::test]
async fn a_password_may_change_while_we_run() {
    let base = Base::empty().await;
    let role = format!("role_{}", base.name());
    base.server.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'one'")).await;
    base.server.execute(&format!("ALTER DATABASE {} OWNER TO {role}", base.name())).await;
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "two").unwrap();
    let options = PostgresOptions { user: role.clone(), password_file, ..base.options.clone() };
    let error = Postgres::migrate(&options).await.unwrap_err();
    assert!(whole(&error).contains("password authentication failed") && !whole(&error).contains("two"), "{error}");
    std::fs::write(&options.password_file, "one\n").unwrap();
    Postgres::migrate(&options).await.unwrap();
    let open = Postgres::open(&options).await.unwrap();
    base.server.execute(&format!("ALTER ROLE {role} PASSWORD 'two'")).await;
    std::fs::write(&options.password_file, "two").unwrap();
    // Connections that were opened before go on; a further one needs the new password.
    let mut held = Vec::new();
    for name in ["a", "b", "c"] {
        held.push(open.store().begin_merge(&[camera(name)]).await.unwrap());
    }
}

#[tokio::test]
async fn what_cannot_be_reached_or_read_is_named() {
    let base = Base::empty().await;
    let with = |url: &str| PostgresOptions { url: url.to_owned(), ..base.options.clone() };
    for url in ["postgres://me:secret@127.0.0.1/x", "postgres", "postgres://127.0.0.1:1x/x"] {
        let error = refused(&with(url)).await;
        assert!(whole(&error).contains("URL") && !whole(&error).contains("secret"), "{error}");
    }
    let nobody = crate::servers::free_port();
    let error = refused(&with(&format!("postgres://127.0.0.1:{nobody}/x"))).await;
    assert!(whole(&error).contains("connecting to the database"), "{error}");
    let none = PostgresOptions { password_file: "/nowhere/password".into(), ..base.options.clone() };
    assert!(whole(&refused(&none).await).contains("/nowhere/password"));
}
