//! Dispatchers, and what each sees.

use futures::future::join_all;

use super::{CoordinationBench, beat, become_balancer, first_beat, lease, member, row, take, want};
use crate::conformance::samples::camera;
use crate::coordination::{Load, MemberSeen};

pub async fn every_beat_is_seen(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", u64::MAX), member("d2", 7));
    first_beat(&backend, &d2).await;
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.partitions, 0);
    assert_eq!(sight.cameras, []);
    let before = sight.members;
    assert_eq!(before.iter().map(|seen| &seen.member).collect::<Vec<_>>(), [&d1, &d2]);
    let load = Load { cpu_millis: 900, capacity_millis: 2_000, leaving: true };
    let after = backend.beat(&d1, load, false).await.unwrap().unwrap().members;
    assert!(after[0].renewal > before[0].renewal);
    assert_eq!(after[0].load, load);
    assert_eq!(after[1], before[1]);
    assert_eq!(backend.members().await.unwrap(), after);
}

pub async fn a_new_incarnation_takes_the_name_over(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (old, new) = (member("d1", 1), member("d1", 2));
    first_beat(&backend, &old).await;
    let epoch = backend.take(&take(lease("a"), None, &old)).await.unwrap();
    assert_eq!(first_beat(&backend, &new).await.members[0].member, new);
    assert_eq!(beat(&backend, &old).await, None);
    assert_eq!(backend.members().await.unwrap().len(), 1);
    // The old one's leases are not the new one's.
    let held = backend.lease(&lease("a")).await.unwrap().unwrap();
    assert_eq!((held.holder, Some(held.epoch)), (Some(old.clone()), epoch));
    // Nor does it leave in the new one's name.
    backend.leave(&old).await.unwrap();
    assert_eq!(backend.members().await.unwrap()[0].member, new);
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().holder, None);
}

pub async fn who_leaves_gives_its_leases_back(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    first_beat(&backend, &d1).await;
    first_beat(&backend, &d2).await;
    let mut epochs = Vec::new();
    for (name, holder) in [("a", &d1), ("b", &d2), ("c", &d1)] {
        epochs.push(backend.take(&take(lease(name), None, holder)).await.unwrap().unwrap());
    }
    become_balancer(&backend, &d1).await;
    backend.leave(&d1).await.unwrap();
    backend.leave(&d1).await.unwrap();
    assert_eq!(backend.members().await.unwrap().len(), 1);
    let leases = backend.leases().await.unwrap();
    let holders: Vec<_> = leases.iter().map(|lease| lease.holder.clone()).collect();
    assert_eq!(holders, [None, Some(d2), None, None]);
    assert_eq!(leases[..3].iter().map(|lease| lease.epoch).collect::<Vec<_>>(), epochs);
}

pub async fn a_member_is_forgotten_as_it_was_seen(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let before = first_beat(&backend, &d1).await.members[0].clone();
    backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    let after = beat(&backend, &d1).await.unwrap().members[0].clone();
    backend.forget(&before).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), std::slice::from_ref(&after));
    let another = MemberSeen { member: member("d1", 2), ..after.clone() };
    backend.forget(&another).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), std::slice::from_ref(&after));
    backend.forget(&after).await.unwrap();
    assert_eq!(backend.members().await.unwrap(), []);
    assert_eq!(backend.lease(&lease("a")).await.unwrap().unwrap().holder, Some(d1.clone()));
    // It lives after all.
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!(sight.members[0].member, d1);
    assert_eq!(sight.cameras.len(), 1);
}

pub async fn beats_at_once_all_count(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let d1 = member("d1", 1);
    let before = first_beat(&backend, &d1).await.members[0].renewal;
    let beats = join_all((0..8).map(|_| backend.beat(&d1, Load::default(), false))).await;
    assert!(beats.into_iter().all(|sight| sight.unwrap().is_some()));
    assert_eq!(backend.members().await.unwrap()[0].renewal, before + 8);
}

pub async fn a_dispatcher_sees_what_is_placed_on_it(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    let epoch = become_balancer(&backend, &d2).await;
    want(&backend, &["b", "a", "c", "d"]).await;
    let rows = [row("b", Some("d1"), 3), row("a", Some("d1"), 0), row("c", Some("d2"), 0), row("d", None, 0)];
    assert!(backend.place(epoch, &rows, &[]).await.unwrap());
    let lease_epoch = backend.take(&take(lease("b"), None, &d2)).await.unwrap().unwrap();
    backend.set_partitions(10).await.unwrap();
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.partitions, 10);
    let [a, b] = &sight.cameras[..] else { panic!("{sight:?}") };
    assert_eq!((&a.id, &a.placed, &a.lease), (&camera("a"), &Some(rows[1].clone()), &None));
    assert_eq!((&b.id, &b.placed), (&camera("b"), &Some(rows[0].clone())));
    // Whoever holds it.
    let held = b.lease.clone().unwrap();
    assert_eq!((held.holder, held.epoch), (Some(d2), lease_epoch));
    let wanted = backend.wanted().await.unwrap();
    assert_eq!((&a.wanted, &b.wanted), (&Some(wanted[0].clone()), &Some(wanted[1].clone())));
    // What is wanted no longer is still placed until the balancer has heard of it.
    backend.want(&[(camera("a"), None)]).await.unwrap();
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!((&sight.cameras[0].id, &sight.cameras[0].wanted), (&camera("a"), &None));
    assert!(backend.place(epoch, &[], &[camera("a")]).await.unwrap());
    let sight = beat(&backend, &d1).await.unwrap();
    assert_eq!(sight.cameras.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["b"]);
}

pub async fn a_dispatcher_sees_what_it_holds(bench: &mut impl CoordinationBench) {
    let backend = bench.backend();
    let (d1, d2) = (member("d1", 1), member("d2", 2));
    first_beat(&backend, &d1).await;
    let balancer = become_balancer(&backend, &d1).await;
    want(&backend, &["a"]).await;
    assert!(backend.place(balancer, &[row("a", Some("d2"), 0)], &[]).await.unwrap());
    let epoch = backend.take(&take(lease("a"), None, &d1)).await.unwrap().unwrap();
    backend.take(&take(lease("b"), None, &d1)).await.unwrap().unwrap();
    let sight = beat(&backend, &d1).await.unwrap();
    let [a, b] = &sight.cameras[..] else { panic!("{sight:?}") };
    assert_eq!(a.placed.as_ref().and_then(|placed| placed.dispatcher.as_deref()), Some("d2"));
    assert_eq!(a.lease.as_ref().map(|lease| lease.epoch), Some(epoch));
    assert!(a.wanted.is_some());
    assert_eq!((&b.wanted, &b.placed), (&None, &None));
    assert_eq!(b.lease.as_ref().and_then(|lease| lease.holder.as_ref()), Some(&d1));
    // Another incarnation holds nothing.
    assert_eq!(first_beat(&backend, &member("d1", 9)).await.cameras, []);
    // Once it is taken by another, it is the other's alone.
    backend.take(&take(lease("a"), Some(epoch), &d2)).await.unwrap().unwrap();
    let sight = first_beat(&backend, &d1).await;
    assert_eq!(sight.cameras.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(), ["b"]);
}
