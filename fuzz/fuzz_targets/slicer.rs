//! Any stream of access units through the timeline and the slicer: every unit is counted once.
#![no_main]

use detektor_dispatcher::slicer::timeline::{Stamps, Timeline, TimelineLimits};
use detektor_dispatcher::slicer::{Entry, Facts, Leading, Limits, Slice, Slicer, Unit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { target: 1_000, max: 4_000, frame: 40, bytes: 20_000, count_before_key: true };
    let mut timeline = Timeline::new(TimelineLimits { time_scale: 1_000, frame: 40, ahead_s: 5 });
    let mut slicer = Slicer::new(limits);
    let (mut clock, mut config, mut shown) = (0_i64, 0, 0);
    let (units, _) = data.as_chunks::<6>();
    for (n, [kind, flags, s0, s1, late, bytes]) in units.iter().enumerate() {
        let step = i64::from(i16::from_le_bytes([*s0, *s1]));
        clock = clock.wrapping_add(if flags & 0x80 == 0 { step } else { step << 33 });
        let stamps = Stamps {
            pts: (flags & 1 == 0).then_some(clock),
            dts: (flags & 2 != 0).then_some(clock.saturating_sub(i64::from(*late))),
            arrival: None,
        };
        let entry = match kind & 0x0f {
            0 => Entry::Closed,
            1 | 2 => Entry::Open,
            3 => Entry::Gradual { frames: u32::from(*late) },
            _ => Entry::None,
        };
        let leading = [Leading::ByTime, Leading::No, Leading::Decodable, Leading::Skipped][usize::from(kind >> 4 & 3)];
        config += u32::from(entry != Entry::None && kind & 0x80 != 0);
        let hidden = flags & 4 != 0;
        shown += usize::from(!hidden);
        let facts = Facts {
            pts: timeline.place(stamps).pts,
            bytes: usize::from(*bytes) * 8,
            entry,
            leading,
            reference: flags & 8 == 0,
            second_field: flags & 16 != 0,
            hidden,
            config,
        };
        if flags & 0x60 == 0x60 {
            slicer.interrupt(true);
        }
        slicer.push(Unit::new(facts, n));
    }
    slicer.finish();
    let (mut total, mut counted) = (0, std::collections::BTreeSet::new());
    while let Some(slice) = slicer.pop() {
        match slice {
            Slice::Undecodable { frames, start, end, .. } => {
                assert!(frames > 0 && start < end);
                total += frames as usize;
            }
            Slice::Segment(cut) => {
                assert!(cut.units[0].facts.entry != Entry::None && cut.start < cut.end);
                let mine = cut.units.iter().filter(|unit| unit.counted);
                assert_eq!(mine.clone().count(), cut.frames as usize);
                total += cut.frames as usize;
                mine.for_each(|unit| assert!(counted.insert(unit.data)));
            }
        }
    }
    assert_eq!(total, shown);
});
