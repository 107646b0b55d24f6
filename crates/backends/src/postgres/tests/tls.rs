//! Whom we believe to be the database.

use super::*;
use crate::servers::PostgresSetup;
use crate::servers::certificates::{Authority, authority, certificate};

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let (ours, other) = (authority("ours"), authority("other"));
    let server = PostgresServer::start(PostgresSetup { certificate: Some(certificate(&ours)) }).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, by: &Authority| {
        std::fs::write(dir.path().join(name), by.pem()).unwrap();
        Some(dir.path().join(name))
    };
    let trusting = PostgresOptions { ca_file: file("ours", &ours), ..server.database().await };
    Postgres::migrate(&trusting).await.unwrap();
    Postgres::open(&trusting).await.unwrap().store().ping().await.unwrap();

    let by_another = PostgresOptions { ca_file: file("other", &other), ..trusting.clone() };
    let url = trusting.url.replace("127.0.0.1", "localhost");
    let of_another_name = PostgresOptions { url, ..trusting.clone() };
    let system = format!("{}?sslmode=verify-full", trusting.url);
    let unknown = PostgresOptions { ca_file: None, url: system, ..trusting.clone() };
    for options in [by_another, of_another_name, unknown] {
        let error = Postgres::open(&options).await.err().expect("it believed the server");
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(source.contains("certificate"), "{error}: {source}");
    }
}
