//! Cameras that are wanted.

use futures::future::join_all;

use super::{CoordinationBench, want};
use crate::conformance::samples::camera;
use crate::coordination::{Changed, Expected};

pub async fn wanted_cameras_change_all_at_once(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    assert_eq!(backend.wanted().await.unwrap(), []);
    let spec = |text: &str| Some(text.to_owned());
    let changed = backend.want(&[(camera("b"), spec("{}")), (camera("a"), spec("{}"))]).await.unwrap();
    assert_eq!(changed.len(), 2);
    let before = backend.wanted().await.unwrap();
    assert_eq!(before.iter().map(|wanted| wanted.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    // One as it was, one changed, one new, one that never was.
    let changes = [
        (camera("a"), spec("{}")),
        (camera("b"), spec(r#"{"url":"ü"}"#)),
        (camera("c"), spec("{}")),
        (camera("d"), None),
    ];
    assert_eq!(backend.want(&changes).await.unwrap(), [camera("b"), camera("c")]);
    let after = backend.wanted().await.unwrap();
    assert_eq!(after.len(), 3);
    assert_eq!(after[0], before[0]);
    assert_eq!(after[1].spec, r#"{"url":"ü"}"#);
    assert!(after[1].revision > before[1].revision);
    assert_eq!(backend.want(&[(camera("a"), None)]).await.unwrap(), [camera("a")]);
    assert_eq!(backend.wanted().await.unwrap(), after[1..]);
    assert_eq!(backend.want(&[]).await.unwrap(), []);
}

pub async fn a_revision_rises_over_a_removal(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    want(&backend, &["a"]).await;
    let before = backend.wanted().await.unwrap()[0].clone();
    backend.want(&[(camera("a"), None)]).await.unwrap();
    want(&backend, &["a"]).await;
    let after = backend.wanted().await.unwrap()[0].clone();
    assert_eq!(after.spec, before.spec);
    assert!(after.revision > before.revision);
}

pub async fn names_that_look_like_something_else_are_names(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let mut names = ["null", "NULL", "true", "select", "a--b", "0x1", "1e5", "7", "wanted_cameras", "detect-00"];
    for name in names {
        backend.want_if(&camera(name), Some(name), Expected::Absent).await.unwrap();
    }
    names.sort_unstable();
    let wanted = backend.wanted().await.unwrap();
    assert_eq!(wanted.iter().map(|wanted| wanted.id.as_str()).collect::<Vec<_>>(), names);
    assert!(wanted.iter().all(|wanted| wanted.id.as_str() == wanted.spec));
    for name in names {
        assert_eq!(backend.want_if(&camera(name), None, Expected::Present).await.unwrap(), Changed::Done(None));
    }
    assert_eq!(backend.wanted().await.unwrap(), []);
}

pub async fn a_camera_changes_only_if_it_is_as_expected(bench: &mut impl CoordinationBench) {
    let (backend, a) = (bench.backend(), camera("a"));
    for expected in [Expected::Present, Expected::Revision(1)] {
        assert_eq!(backend.want_if(&a, Some("{}"), expected).await.unwrap(), Changed::Unexpected(None));
        assert_eq!(backend.want_if(&a, None, expected).await.unwrap(), Changed::Unexpected(None));
    }
    assert_eq!(backend.wanted().await.unwrap(), []);
    let Changed::Done(Some(first)) = backend.want_if(&a, Some("{}"), Expected::Absent).await.unwrap() else {
        panic!("it was not wanted before");
    };
    assert_eq!(backend.want_if(&a, Some("1"), Expected::Absent).await.unwrap(), Changed::Unexpected(Some(first)));
    assert_eq!(
        backend.want_if(&a, Some("1"), Expected::Revision(first + 1)).await.unwrap(),
        Changed::Unexpected(Some(first))
    );
    // As it was: it keeps its revision.
    assert_eq!(backend.want_if(&a, Some("{}"), Expected::Revision(first)).await.unwrap(), Changed::Done(Some(first)));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!((wanted[0].revision, wanted[0].spec.as_str()), (first, "{}"));
    let Changed::Done(Some(second)) = backend.want_if(&a, Some("1"), Expected::Revision(first)).await.unwrap() else {
        panic!("it was as expected");
    };
    assert!(second > first);
    assert_eq!(backend.want_if(&a, None, Expected::Revision(first)).await.unwrap(), Changed::Unexpected(Some(second)));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!((wanted[0].revision, wanted[0].spec.as_str()), (second, "1"));
    assert_eq!(backend.want_if(&a, None, Expected::Present).await.unwrap(), Changed::Done(None));
    assert_eq!(backend.wanted().await.unwrap(), []);
}

pub async fn of_changes_at_once_that_expect_the_same_one_is_made(bench: &mut impl CoordinationBench) {
    let (backend, a) = (bench.backend(), camera("a"));
    want(&backend, &["a"]).await;
    let seen = Expected::Revision(backend.wanted().await.unwrap()[0].revision);
    let specs: Vec<String> = (0..8).map(|n| format!(r#"{{"by":{n}}}"#)).collect();
    let changed = join_all(specs.iter().map(|spec| backend.want_if(&a, Some(spec), seen))).await;
    let done: Vec<usize> = (0..8).filter(|n| matches!(changed[*n], Ok(Changed::Done(_)))).collect();
    assert_eq!(done.len(), 1, "{changed:?}");
    assert_eq!(backend.wanted().await.unwrap()[0].spec, specs[done[0]]);
}

pub async fn changes_at_once_are_all_there(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    // The same cameras in another order.
    let names = ["a", "b", "c", "d"];
    let changes = (0..names.len()).map(|first| {
        let specs = (0..names.len()).map(|n| {
            let n = (n + first) % names.len();
            (camera(names[n]), Some(format!(r#"{{"by":{first}}}"#)))
        });
        specs.collect::<Vec<_>>()
    });
    let changes: Vec<_> = changes.collect();
    let changed = join_all(changes.iter().map(|change| backend.want(change))).await;
    assert!(changed.into_iter().all(|changed| changed.unwrap().len() == names.len()));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!(wanted.len(), names.len());
    assert!(wanted.iter().all(|camera| camera.spec == wanted[0].spec), "one change is mixed with another: {wanted:?}");
}
