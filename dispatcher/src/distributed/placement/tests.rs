#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn id(n: usize) -> CameraId {
    CameraId::new(format!("c{n:05}")).unwrap()
}

fn ids(n: usize) -> Vec<CameraId> {
    (0..n).map(id).collect()
}

fn node(n: usize) -> Node {
    Node { name: format!("d{n:02}"), capacity_millis: 0, leaving: false, hot: false }
}

fn nodes(n: usize) -> Vec<Node> {
    (0..n).map(node).collect()
}

fn table(partitions: u16) -> Placement {
    Placement { revision: 0, partitions, cameras: Vec::new() }
}

fn apply(placement: &mut Placement, plan: &Plan) {
    for Move { camera, to, reason, .. } in &plan.moves {
        let row = Placed {
            camera: camera.clone(),
            dispatcher: to.dispatcher.clone(),
            partition: to.partition.unwrap(),
            cost_millis: 0,
            reason: reason.clone(),
            moved_ms: 0,
        };
        match placement.cameras.binary_search_by(|row| row.camera.cmp(camera)) {
            Ok(at) => placement.cameras[at] = Placed { cost_millis: placement.cameras[at].cost_millis, ..row },
            Err(at) => placement.cameras.insert(at, row),
        }
    }
    placement.cameras.retain(|row| !plan.gone.contains(&row.camera));
}

fn set_costs(placement: &mut Placement, costs: &[u32]) {
    for (row, cost) in placement.cameras.iter_mut().zip(costs) {
        row.cost_millis = *cost;
    }
}

/// Everything placed with these costs, as from the beginning.
fn settled(costs: &[u32], nodes: &[Node], partitions: u16) -> Placement {
    let mut placement = table(partitions);
    // Measured, and nowhere yet.
    placement.cameras = costs
        .iter()
        .enumerate()
        .map(|(n, cost)| Placed {
            camera: id(n),
            dispatcher: None,
            partition: (n % usize::from(partitions)) as u16,
            cost_millis: *cost,
            reason: String::new(),
            moved_ms: 0,
        })
        .collect();
    let plan = plan(&ids(costs.len()), nodes, &placement);
    apply(&mut placement, &plan);
    placement
}

fn loads(placement: &Placement, nodes: &[Node]) -> Vec<f64> {
    let of = |node: &Node| {
        let mine = placement.cameras.iter().filter(|row| row.dispatcher.as_ref() == Some(&node.name));
        mine.map(|row| f64::from(row.cost_millis)).sum()
    };
    nodes.iter().map(of).collect()
}

fn spread(loads: &[f64]) -> f64 {
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    (loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>() / loads.len() as f64).sqrt() / mean
}

fn counts(placement: &Placement, nodes: &[Node]) -> Vec<usize> {
    let of = |node: &Node| placement.cameras.iter().filter(|row| row.dispatcher.as_ref() == Some(&node.name)).count();
    nodes.iter().map(of).collect()
}

fn in_partitions(placement: &Placement) -> Vec<usize> {
    let of = |number| placement.cameras.iter().filter(|row| row.partition == number).count();
    (0..placement.partitions).map(of).collect()
}

/// The least spread that whole cameras allow, by trying everything.
fn least_spread(costs: &[u32], nodes: usize) -> f64 {
    fn go(costs: &[u32], loads: &mut Vec<f64>, counts: &mut Vec<usize>, best: &mut f64) {
        let Some((cost, rest)) = costs.split_first() else {
            if counts.iter().all(|count| *count > 0) {
                *best = best.min(spread(loads));
            }
            return;
        };
        for n in 0..loads.len() {
            let fresh = counts[n] == 0;
            loads[n] += f64::from(*cost);
            counts[n] += 1;
            go(rest, loads, counts, best);
            loads[n] -= f64::from(*cost);
            counts[n] -= 1;
            if fresh {
                break;
            }
        }
    }
    let mut best = f64::MAX;
    go(costs, &mut vec![0.0; nodes], &mut vec![0; nodes], &mut best);
    best
}

#[test]
fn a_hundred_cameras_over_ten_partitions_are_ten_each() {
    let mut placement = table(10);
    let first = plan(&ids(100), &nodes(4), &placement);
    assert!(first.moves.iter().all(|m| m.reason == "new camera" && m.from == Spot::default()));
    apply(&mut placement, &first);
    assert_eq!(in_partitions(&placement), [10; 10]);
    assert_eq!(counts(&placement, &nodes(4)), [25; 4]);
    assert!(plan(&ids(100), &nodes(4), &placement).is_empty());
}

#[test]
fn a_dead_dispatchers_cameras_move_and_no_others() {
    let mut placement = settled(&[100; 60], &nodes(4), 1);
    let left: Vec<Node> = nodes(4).into_iter().filter(|node| node.name != "d02").collect();
    let moves = plan(&ids(60), &left, &placement);
    assert_eq!(moves.moves.len(), 15);
    assert!(moves.moves.iter().all(|m| m.reason == "dispatcher d02 is gone" && m.urgent));
    assert!(
        moves.moves.iter().all(|m| m.from.dispatcher.as_deref() == Some("d02") && m.from.partition == m.to.partition)
    );
    apply(&mut placement, &moves);
    assert_eq!(counts(&placement, &left), [20; 3]);
}

#[test]
fn one_that_leaves_gives_up_its_cameras_unless_it_is_the_last() {
    let placement = settled(&[100; 6], &nodes(2), 1);
    let mut leaving = nodes(2);
    leaving[1].leaving = true;
    let moves = plan(&ids(6), &leaving, &placement);
    assert_eq!(moves.moves.len(), 3);
    assert!(moves.moves.iter().all(|m| m.reason == "d01 is leaving" && m.to.dispatcher.as_deref() == Some("d00")));
    leaving[0].leaving = true;
    assert!(plan(&ids(6), &leaving, &placement).is_empty());
    assert!(plan(&ids(6), &[], &placement).is_empty());
}

#[test]
fn a_new_dispatcher_gets_its_share_and_no_more_moves_than_that() {
    let mut placement = settled(&[100; 60], &nodes(3), 1);
    let moves = plan(&ids(60), &nodes(4), &placement);
    assert!((14..=15).contains(&moves.moves.len()), "{}", moves.moves.len());
    assert!(moves.moves.iter().all(|m| m.to.dispatcher.as_deref() == Some("d03") && !m.urgent));
    apply(&mut placement, &moves);
    assert!(spread(&loads(&placement, &nodes(4))) < 0.05);
    assert!(plan(&ids(60), &nodes(4), &placement).is_empty());
}

#[test]
fn what_evens_the_load_says_so() {
    let mut placement = settled(&[100; 20], &nodes(2), 1);
    let costs: Vec<u32> =
        placement.cameras.iter().map(|row| if row.dispatcher.as_deref() == Some("d00") { 140 } else { 60 }).collect();
    set_costs(&mut placement, &costs);
    let moves = plan(&ids(20), &nodes(2), &placement);
    assert_eq!(moves.moves.len(), 3);
    for m in &moves.moves {
        assert!(m.reason == "evens the load: d00 1.40, d01 0.60 -> 0.98, 1.02", "{}", m.reason);
    }
    apply(&mut placement, &moves);
    assert!(spread(&loads(&placement, &nodes(2))) < 0.05);
}

#[test]
fn what_costs_next_to_nothing_is_even_by_count() {
    let mut placement = settled(&[5; 4], &nodes(2), 1);
    let counts = |placement: &Placement| {
        nodes(2)
            .iter()
            .map(|node| placement.cameras.iter().filter(|row| row.dispatcher.as_ref() == Some(&node.name)).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&placement), [2, 2]);
    set_costs(&mut placement, &[1, 12, 3, 17]);
    assert!(plan(&ids(4), &nodes(2), &placement).is_empty(), "it moved for what is not worth it");
}

#[test]
fn partitions_that_go_and_come_move_what_they_must() {
    let mut placement = settled(&[100; 100], &nodes(2), 10);
    placement.partitions = 8;
    let moves = plan(&ids(100), &nodes(2), &placement);
    assert_eq!(moves.moves.len(), 20);
    let reasons: BTreeSet<&str> = moves.moves.iter().map(|m| m.reason.as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["partition 8 is gone", "partition 9 is gone"]));
    assert!(moves.moves.iter().all(|m| m.from.dispatcher == m.to.dispatcher));
    apply(&mut placement, &moves);
    let now = in_partitions(&placement);
    assert!(now.iter().all(|count| (12..=13).contains(count)), "{now:?}");
    placement.partitions = 10;
    let moves = plan(&ids(100), &nodes(2), &placement);
    assert!(moves.moves.len() <= 20 && moves.moves.iter().all(|m| m.to.partition >= Some(8)), "{moves:?}");
    apply(&mut placement, &moves);
    let now = in_partitions(&placement);
    assert!(now.iter().all(|count| (9..=11).contains(count)), "{now:?}");
}

#[test]
fn a_hot_dispatcher_is_relieved_step_by_step_and_never_crowded_again() {
    let mut placement = settled(&[100; 40], &nodes(2), 1);
    let mut hot = nodes(2);
    hot[0].hot = true;
    let mut relieved = 0;
    loop {
        let moves = plan(&ids(40), &hot, &placement);
        if moves.is_empty() {
            break;
        }
        assert_eq!((moves.moves.len(), moves.moves[0].reason.as_str()), (1, "d00 runs hot"));
        apply(&mut placement, &moves);
        relieved += 1;
    }
    assert!((1..=2).contains(&relieved), "{relieved}");
    assert!(plan(&ids(40), &nodes(2), &placement).is_empty(), "cool again, it keeps what it has");
    // A new camera goes to the cool one, although it has more.
    let more = plan(&ids(41), &hot, &placement);
    let [Move { to: Spot { dispatcher: Some(name), .. }, .. }] = &more.moves[..] else { panic!("{more:?}") };
    assert_eq!(name, "d01");
}

#[test]
fn what_can_carry_more_gets_more() {
    let mut unequal = nodes(3);
    for (node, capacity) in unequal.iter_mut().zip([1_000, 1_000, 2_000]) {
        node.capacity_millis = capacity;
    }
    let placement = settled(&[50; 80], &unequal, 1);
    assert_eq!(counts(&placement, &unequal), [20, 20, 40]);
}

#[test]
fn without_a_dispatcher_a_camera_waits_for_one() {
    let mut placement = table(2);
    let moves = plan(&ids(1), &[], &placement);
    assert_eq!(moves.moves[0].to, Spot { dispatcher: None, partition: Some(0) });
    apply(&mut placement, &moves);
    assert!(plan(&ids(1), &[], &placement).is_empty());
    let moves = plan(&ids(1), &nodes(1), &placement);
    assert_eq!(moves.moves[0].to.dispatcher.as_deref(), Some("d00"));
    assert_eq!(moves.moves[0].reason, "no dispatcher had it");
    let gone = plan(&[], &nodes(1), &placement);
    assert_eq!((gone.moves.len(), gone.gone), (0, ids(1)));
}

#[test]
fn ten_thousand_cameras_take_no_time() {
    let costs: Vec<u32> = (0..10_000_u32).map(|n| 20 + n * 7_919 % 300).collect();
    // The worst there is: all on one, and 99 others come.
    let mut placement = settled(&costs, &nodes(1), 10);
    let begun = Instant::now();
    let moves = plan(&ids(10_000), &nodes(100), &placement);
    // Two cores that others use as well: a bound for what is quadratic, not a measurement.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    apply(&mut placement, &moves);
    assert!(spread(&loads(&placement, &nodes(100))) < 0.05);
    assert!(moves.moves.len() < 9_990);
    assert!(plan(&ids(10_000), &nodes(100), &placement).is_empty());
}

#[test]
fn a_report_says_how_even_it_is() {
    use detektor_backends::coordination::{Load, Member};
    let member = |name: &str, leaving| MemberSeen {
        member: Member { name: name.to_owned(), incarnation: 1 },
        renewal: 1,
        load: Load { leaving, ..Load::default() },
    };
    let placement = settled(&[100; 20], &nodes(2), 2);
    let members = [member("d00", false), member("d01", false)];
    let report = PlacementReport::new(&ids(20), &members, &placement);
    assert!(report.std_deviation < 1e-9 && !report.rebalance_needed);
    assert_eq!(report.nodes[1].camera_count, 10);
    assert!((report.nodes[1].load - 1.0).abs() < 1e-9);
    assert_eq!((report.unplaced, &report.partitions[..], report.last_moves.len()), (0, &[10, 10][..], 20));
    assert_eq!(report.last_moves[0].reason, "no dispatcher had it");
    let report = PlacementReport::new(&ids(21), &members[..1], &placement);
    assert_eq!(report.unplaced, 11);
    assert!(report.rebalance_needed);
    let leaving = [member("d00", false), member("d01", true)];
    let report = PlacementReport::new(&ids(20), &leaving, &placement);
    assert_eq!((report.unplaced, report.nodes[1].camera_count), (0, 10));
    assert!(report.rebalance_needed);
    assert!(serde_json::to_string(&report).unwrap().contains(r#""std_deviation":"#));
}

fn some_costs(most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![
        prop::collection::vec(20_u32..500, 1..most),
        prop::collection::vec(90_u32..110, 1..most),
        prop::collection::vec(prop_oneof![Just(20_u32), Just(40), Just(400)], 1..most),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn from_the_beginning_it_is_even(costs in some_costs(80), n in 1_usize..8, partitions in 1_u16..12) {
        let nodes = nodes(n);
        let placement = settled(&costs, &nodes, partitions);
        prop_assert!(placement.cameras.iter().all(|row| row.dispatcher.is_some()));
        let counts = counts(&placement, &nodes);
        prop_assert!(costs.len() < n || counts.iter().all(|count| *count > 0), "{counts:?}");
        let of_partitions = in_partitions(&placement);
        let (least, most) = (of_partitions.iter().min().unwrap(), of_partitions.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{of_partitions:?}");
        let dearest = f64::from(*costs.iter().max().unwrap());
        let mean = f64::from(costs.iter().sum::<u32>()) / n as f64;
        let is = spread(&loads(&placement, &nodes));
        // With cameras small against a member's load there is always an even way.
        prop_assert!(is < 0.1 || dearest > mean / 4.0, "{is}");
        prop_assert!(plan(&ids(costs.len()), &nodes, &placement).is_empty());
    }

    #[test]
    fn few_cameras_are_as_even_as_whole_ones_allow(costs in some_costs(9), n in 1_usize..4) {
        prop_assume!(costs.len() >= n);
        let is = spread(&loads(&settled(&costs, &nodes(n), 1), &nodes(n)));
        let least = least_spread(&costs, n);
        prop_assert!(is < 0.1 || is <= least + 0.05, "{is}, and {least} were possible");
    }

    #[test]
    fn noise_moves_nothing(
        noisy in some_costs(80).prop_flat_map(|costs| {
            let n = costs.len();
            (Just(costs), prop::collection::vec(-50_i64..=50, n))
        }),
        n in 1_usize..8,
    ) {
        let (costs, noise) = noisy;
        // Large enough that rounding to thousandths is no noise of its own.
        let costs: Vec<u32> = costs.iter().map(|cost| cost * 100).collect();
        let mut placement = settled(&costs, &nodes(n), 3);
        let noisy = |(cost, permille): (&u32, &i64)| (i64::from(*cost) * (1_000 + permille) / 1_000) as u32;
        set_costs(&mut placement, &costs.iter().zip(&noise).map(noisy).collect::<Vec<_>>());
        let moves = plan(&ids(costs.len()), &nodes(n), &placement);
        prop_assert!(moves.is_empty(), "{moves:?}");
    }

    #[test]
    fn whatever_changes_one_plan_settles_it(
        costs in some_costs(60),
        later in prop::collection::vec(10_u32..500, 90),
        before in 1_usize..8,
        after in 1_usize..8,
        cameras in 1_usize..90,
        partitions in (1_u16..12, 1_u16..12),
    ) {
        let mut placement = settled(&costs, &nodes(before), partitions.0);
        set_costs(&mut placement, &later);
        placement.partitions = partitions.1;
        let (wanted, nodes) = (ids(cameras), nodes(after));
        let moves = plan(&wanted, &nodes, &placement);
        prop_assert_eq!(&moves, &plan(&wanted, &nodes, &placement), "the same again");
        for m in &moves.moves {
            prop_assert!(m.from != m.to && !m.reason.is_empty() && m.to.partition < Some(partitions.1));
            prop_assert!(nodes.iter().any(|node| Some(&node.name) == m.to.dispatcher.as_ref()));
        }
        apply(&mut placement, &moves);
        prop_assert!(placement.cameras.iter().map(|row| &row.camera).eq(&wanted));
        prop_assert!(placement.cameras.iter().all(|row| row.partition < partitions.1));
        prop_assert!(placement.cameras.iter().all(|row| nodes.iter().any(|node| Some(&node.name) == row.dispatcher.as_ref())));
        let again = plan(&wanted, &nodes, &placement);
        prop_assert!(again.is_empty(), "{:?}", again);
    }

    #[test]
    fn moves_are_bounded_by_what_changed(per_node in 10_usize..30, n in 2_usize..6, gone in 0_usize..6) {
        let cameras = per_node * n;
        let costs: Vec<u32> = (0..cameras as u32).map(|k| 100 + k * 37 % 50).collect();
        let placement = settled(&costs, &nodes(n), 10);
        let share = cameras / n;
        // One dies.
        let left: Vec<Node> = nodes(n).into_iter().enumerate().filter(|(k, _)| *k != gone % n).map(|(_, n)| n).collect();
        let of_dead = counts(&placement, &nodes(n))[gone % n];
        prop_assert_eq!(plan(&ids(cameras), &left, &placement).moves.len(), of_dead);
        // One comes.
        let moves = plan(&ids(cameras), &nodes(n + 1), &placement).moves.len();
        prop_assert!(moves <= cameras / (n + 1) + share / 4 + 1, "{moves} of {cameras} for one of {n}");
        // A camera comes, another goes.
        let mut wanted = ids(cameras + 1);
        wanted.remove(gone);
        let moves = plan(&wanted, &nodes(n), &placement);
        prop_assert_eq!((moves.moves.len(), moves.gone.len()), (1, 1));
    }
}
