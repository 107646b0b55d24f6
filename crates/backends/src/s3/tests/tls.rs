use super::*;
use crate::servers::MinioSetup;
use crate::servers::certificates::{authority, certificate};

#[tokio::test]
async fn a_store_is_trusted_by_its_authority_alone() {
    let (ours, other) = (authority("ours"), authority("other"));
    let setup = MinioSetup { certificate: Some(certificate(&ours)), ..MinioSetup::default() };
    let minio = Minio::start(setup).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };

    // An authority's file may hold others as well.
    let ca_file = file("ours", &format!("{}{}", other.pem(), ours.pem()));
    let options = minio.bucket_with(S3Options { ca_file, ..minio.fresh() }).await;
    let bucket = S3Bucket::new(&options).await.unwrap();
    bucket.put(&key("a"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(bucket.get(&key("a")).await.unwrap(), "x");

    for ca_file in [file("other", &other.pem()), None] {
        let bucket = S3Bucket::new(&S3Options { ca_file, ..options.clone() }).await.unwrap();
        let (_, why) = told(bucket.get(&key("a")).await);
        assert!(why.contains("certificate") && why.contains("UnknownIssuer"), "{why}");
    }

    for (name, text, said) in [
        ("empty", "", "no certificate"),
        ("text", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n", ""),
        ("key", &certificate(&ours).1, "no certificate"),
        ("damaged", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
    ] {
        let ca_file = file(name, text);
        let (context, why) = told(S3Bucket::new(&S3Options { ca_file, ..options.clone() }).await);
        assert!(context.contains(name) && why.contains(said), "{context}: {why}");
    }
}
