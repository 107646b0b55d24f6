#![allow(clippy::unwrap_used, clippy::expect_used)]
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { target: 1_000, max: 4_000, frame: 40, bytes: 100_000, count_before_key: true };

fn facts(pts: i64, entry: Entry) -> Facts {
    Facts {
        pts,
        bytes: 10,
        entry,
        leading: Leading::ByTime,
        reference: true,
        second_field: false,
        hidden: false,
        config: 0,
    }
}

/// Feeds units; each carries its own number in decode order.
fn slice(limits: Limits, units: &[Facts]) -> Vec<Slice<usize>> {
    let mut slicer = Slicer::new(limits);
    for (n, facts) in units.iter().enumerate() {
        slicer.push(Unit::new(*facts, n));
    }
    slicer.finish();
    std::iter::from_fn(|| slicer.pop()).collect()
}

fn counted(cut: &Cut<usize>) -> Vec<usize> {
    cut.units.iter().filter(|unit| unit.counted).map(|unit| unit.data).collect()
}

fn cuts(slices: Vec<Slice<usize>>) -> Vec<Cut<usize>> {
    slices
        .into_iter()
        .map(|slice| match slice {
            Slice::Segment(cut) => cut,
            Slice::Undecodable { .. } => panic!("{slice:?}"),
        })
        .collect()
}

/// `gops` GOPs of `length` pictures, 40 ticks apart.
fn steady(gops: usize, length: usize, entry: Entry) -> Vec<Facts> {
    let at = |n: usize| facts(n as i64 * 40, if n.is_multiple_of(length) { entry } else { Entry::None });
    (0..gops * length).map(at).collect()
}

#[test]
fn closed_gops_of_a_second_are_segments() {
    let cuts = cuts(slice(LIMITS, &steady(3, 25, Entry::Closed)));
    assert_eq!(
        cuts.iter().map(|cut| (cut.start, cut.end, cut.frames)).collect::<Vec<_>>(),
        [(0, 1_000, 25), (1_000, 2_000, 25), (2_000, 3_000, 25)]
    );
    assert!(cuts.iter().all(|cut| cut.units.len() == 25));
}

#[test]
fn short_gops_share_a_segment() {
    let cuts = cuts(slice(LIMITS, &steady(8, 5, Entry::Closed)));
    assert_eq!(cuts.iter().map(|cut| cut.frames).collect::<Vec<_>>(), [20, 20]);
}

#[test]
fn an_open_gops_leading_pictures_stay_with_the_older_segment() {
    // Decode order, as x265 makes it: the key frame, then pictures shown before it.
    let order = [0, 3, 1, 2, 30, 28, 29, 33, 31, 32];
    let units: Vec<Facts> = order
        .iter()
        .map(|n| {
            facts(
                n * 40,
                if *n == 0 {
                    Entry::Closed
                } else if *n == 30 {
                    Entry::Open
                } else {
                    Entry::None
                },
            )
        })
        .collect();
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(counted(&cuts[0]), [0, 1, 2, 3, 5, 6]);
    assert_eq!(cuts[0].units.iter().map(|unit| unit.data).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(cuts[0].end, 1_200);
    assert_eq!(counted(&cuts[1]), [4, 7, 8, 9]);
    assert_eq!(cuts[1].units.len(), 4);
}

#[test]
fn a_long_gop_is_cut_inside_where_presentation_allows_it() {
    // One GOP of 12 s: an anchor every 4 pictures, decoded before the three that are shown before it.
    let mut units = vec![facts(0, Entry::Closed)];
    for anchor in (4..300).step_by(4) {
        units.extend([anchor, anchor - 2, anchor - 3, anchor - 1].map(|n| facts(n * 40, Entry::None)));
    }
    let mut slicer = Slicer::new(LIMITS);
    units.iter().enumerate().for_each(|(n, facts)| slicer.push(Unit::new(*facts, n)));
    assert!(slicer.long_gop());
    slicer.finish();
    let cuts = cuts(std::iter::from_fn(|| slicer.pop()).collect());
    assert_eq!(cuts.len(), 3);
    assert!(cuts.windows(2).all(|w| w[0].end == w[1].start));
    assert!(cuts.iter().all(|cut| cut.units[0].data == 0));
    let in_order: Vec<usize> = cuts.iter().flat_map(counted).collect();
    assert_eq!(in_order, (0..units.len()).collect::<Vec<_>>());
}

#[test]
fn a_part_with_pre_roll_ends_at_the_next_key_frame() {
    let mut units = steady(1, 110, Entry::Closed);
    units.extend(steady(1, 10, Entry::Closed).into_iter().map(|f| Facts { pts: f.pts + 110 * 40, ..f }));
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(cuts.iter().map(|cut| cut.frames).collect::<Vec<_>>(), [100, 10, 10]);
    assert_eq!(cuts[1].units.len(), 110);
}

#[test]
fn a_gop_that_outgrows_what_is_held_is_said_to_be_lost() {
    let limits = Limits { bytes: 3_000, ..LIMITS };
    let slices = slice(limits, &steady(2, 500, Entry::Closed));
    let lost: u32 = slices
        .iter()
        .map(|s| if let Slice::Undecodable { frames, before_key: false, .. } = s { *frames } else { 0 })
        .sum();
    let kept: u32 = slices.iter().map(|s| if let Slice::Segment(cut) = s { cut.frames } else { 0 }).sum();
    assert_eq!(lost + kept, 1_000);
    assert!(lost > 0 && kept >= 300, "{lost} {kept}");
    assert!(slices.iter().all(|s| !matches!(s, Slice::Segment(cut) if cut.units.len() > 300)));
}

#[test]
fn a_gradual_refresh_ends_what_must_be_repeated() {
    let mut units = steady(1, 400, Entry::Closed);
    for unit in units.iter_mut().skip(30).step_by(30) {
        unit.entry = Entry::Gradual { frames: 29 };
    }
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(cuts.len(), 4);
    for cut in &cuts[1..] {
        let pre_roll = cut.units.iter().filter(|unit| !unit.counted).count();
        assert!((30..60).contains(&pre_roll), "{pre_roll}");
        assert!(matches!(cut.units[0].facts.entry, Entry::Gradual { .. }));
    }
}

#[test]
fn what_comes_before_the_first_key_frame_counts_in_files_only() {
    let mut units = steady(1, 60, Entry::None);
    units[50].entry = Entry::Open;
    units[50].pts += 100;
    let slices = slice(LIMITS, &units);
    // The two after the key frame are shown before it and lead it.
    assert_eq!(slices[0], Slice::Undecodable { frames: 52, start: 0, end: 2_120, before_key: true });
    assert!(matches!(&slices[1], Slice::Segment(cut) if cut.frames == 8 && cut.start == 2_100));
    let live = self::slice(Limits { count_before_key: false, ..LIMITS }, &units);
    assert_eq!(live.len(), 1);
}

#[test]
fn other_parameter_sets_begin_another_segment() {
    let mut units = steady(4, 5, Entry::Open);
    units[10..].iter_mut().for_each(|unit| unit.config = 1);
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(cuts.iter().map(|cut| cut.frames).collect::<Vec<_>>(), [10, 10]);
}

#[test]
fn after_an_interruption_the_rest_of_the_gop_is_decoded_with_what_came_before() {
    let units = steady(2, 25, Entry::Open);
    let mut slicer = Slicer::new(LIMITS);
    for (n, facts) in units.iter().enumerate() {
        if n == 10 {
            slicer.interrupt(true);
        }
        slicer.push(Unit::new(*facts, n));
    }
    slicer.finish();
    let cuts = cuts(std::iter::from_fn(|| slicer.pop()).collect());
    assert_eq!(
        cuts.iter().map(|cut| (cut.frames, cut.units.len())).collect::<Vec<_>>(),
        [(10, 10), (15, 25), (25, 25)]
    );
}

#[test]
fn a_border_of_two_fields_is_repeated_whole() {
    let mut units: Vec<Facts> = [0, 25, 26, 24, 27].map(|n| facts(n * 40, Entry::None)).to_vec();
    units[0].entry = Entry::Closed;
    units[1].entry = Entry::Open;
    units[2].second_field = true;
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(
        cuts[0].units.iter().map(|u| (u.data, u.counted)).collect::<Vec<_>>(),
        [(0, true), (1, false), (2, false), (3, true)]
    );
    assert_eq!(counted(&cuts[1]), [1, 2, 4]);
}

#[test]
fn hidden_pictures_are_decoded_and_not_counted() {
    let mut units = steady(2, 25, Entry::Closed);
    units[..7].iter_mut().for_each(|unit| unit.hidden = true);
    units[40..].iter_mut().for_each(|unit| unit.hidden = true);
    let cuts = cuts(slice(LIMITS, &units));
    assert_eq!(cuts.iter().map(|cut| (cut.start, cut.frames)).collect::<Vec<_>>(), [(280, 18), (1_000, 15)]);
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        30 => Just(Entry::None),
        1 => Just(Entry::Closed),
        2 => Just(Entry::Open),
        1 => (0..40_u32).prop_map(|frames| Entry::Gradual { frames }),
    ]
}

fn leading() -> impl Strategy<Value = Leading> {
    prop_oneof![Just(Leading::ByTime), Just(Leading::No), Just(Leading::Decodable), Just(Leading::Skipped)]
}

prop_compose! {
    /// Anything a stream may be: steps of any size, reordering, pauses, fields, hidden pictures, changing sets.
    fn unit()(
        step in prop_oneof![8 => Just(40_i64), 2 => -120..200_i64, 1 => 0..6_000_i64],
        bytes in 1..400_usize, entry in entry(), leading in leading(), reference: bool,
        second_field in prop::bool::weighted(0.1), hidden in prop::bool::weighted(0.05), new_sets in prop::bool::weighted(0.02),
    ) -> (i64, Facts, bool) {
        (step, Facts { pts: 0, bytes, entry, leading, reference, second_field, hidden, config: 0 }, new_sets)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn every_unit_is_counted_once_and_every_segment_begins_where_decoding_can(
        stream in prop::collection::vec(unit(), 1..400),
        interruptions in prop::collection::vec(0..400_usize, 0..3),
        small: bool,
    ) {
        let limits = Limits { bytes: if small { 6_000 } else { 1_000_000 }, ..LIMITS };
        let mut timeline = timeline::Timeline::new(timeline::TimelineLimits { time_scale: 1_000, frame: 40, ahead_s: 5 });
        let mut slicer = Slicer::new(limits);
        let (mut clock, mut config, mut shown, mut units) = (0, 0, 0, Vec::new());
        for (n, (step, mut facts, new_sets)) in stream.into_iter().enumerate() {
            clock += step;
            facts.pts = timeline.place(timeline::Stamps { pts: Some(clock), ..Default::default() }).pts;
            config += u32::from(new_sets && facts.entry != Entry::None);
            facts.config = config;
            shown += usize::from(!facts.hidden);
            if interruptions.contains(&n) {
                slicer.interrupt(true);
            }
            slicer.push(Unit::new(facts, n));
            units.push(facts);
        }
        slicer.finish();

        let (mut total, mut seen) = (0, std::collections::BTreeSet::new());
        while let Some(slice) = slicer.pop() {
            match slice {
                Slice::Undecodable { frames, start, end, .. } => {
                    prop_assert!(frames > 0 && start < end);
                    total += frames as usize;
                }
                Slice::Segment(cut) => {
                    prop_assert!(cut.frames > 0 && cut.start < cut.end);
                    prop_assert_eq!(counted(&cut).len(), cut.frames as usize);
                    prop_assert!(cut.units[0].facts.entry != Entry::None, "begins at {:?}", cut.units[0]);
                    let in_decode_order = cut.units.windows(2).all(|w| w[0].data < w[1].data);
                    prop_assert!(in_decode_order);
                    prop_assert!(cut.units.iter().filter(|u| u.counted).all(|u| (cut.start..cut.end).contains(&u.facts.pts)) );
                    let bytes: usize = cut.units.iter().map(|u| u.facts.bytes).sum();
                    prop_assert!(bytes <= limits.bytes + 400 * (MAX_REORDER + 2), "{bytes}");
                    for n in counted(&cut) {
                        prop_assert!(seen.insert(n), "{n} twice");
                        prop_assert!(!units[n].hidden);
                        total += 1;
                    }
                }
            }
        }
        prop_assert_eq!(total, shown);
    }
}
