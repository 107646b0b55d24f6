//! Where to look closer in pictures much larger than the model's input.

use super::Moved;
use crate::engine::Region;

/// How many crops a picture may have.
const MAX_CROPS: usize = 4;

/// Rectangles around what moved, in which the model sees detail that it loses in the whole picture: up to four, most
/// motion first. None where the picture is at most twice the model's input in both dimensions.
///
/// A crop has the input's aspect ratio where the picture has room for it, and at least the input's size, so that it is
/// never enlarged.
pub fn crops(moved: &[Moved], picture: (u32, u32), input: (u32, u32)) -> Vec<Region> {
    if picture.0 <= 2 * input.0 && picture.1 <= 2 * input.1 {
        return Vec::new();
    }
    let mut crops: Vec<Region> = Vec::new();
    for moved in moved {
        if crops.iter().any(|crop| contains(*crop, moved.region)) {
            continue;
        }
        // What moved, joined with a crop that it fits into together without making that any coarser.
        let joined = crops.iter().enumerate().find_map(|(index, crop)| {
            let both = around(union(*crop, moved.region), 1.0, picture, input);
            (both.w <= crop.w && both.h <= crop.h).then_some((index, both))
        });
        match joined {
            Some((index, both)) => crops[index] = both,
            None if crops.len() < MAX_CROPS => crops.push(around(moved.region, 1.5, picture, input)),
            None => {}
        }
    }
    // A crop that is nearly all of the picture shows nothing that the whole does not.
    crops.retain(|crop| 2 * crop.w <= picture.0 * 3 / 2 || 2 * crop.h <= picture.1 * 3 / 2);
    crops
}

/// The smallest rectangle of the input's shape around `region` made `margin` times as large.
fn around(region: Region, margin: f64, picture: (u32, u32), input: (u32, u32)) -> Region {
    let (w, h) = (f64::from(region.w) * margin, f64::from(region.h) * margin);
    let scale = (w / f64::from(input.0)).max(h / f64::from(input.1)).max(1.0);
    let side = |input: u32, whole: u32| ((f64::from(input) * scale).ceil() as u32).clamp(1, whole);
    let place = |from: u32, length: u32, side: u32, whole: u32| {
        (u64::from(from) + u64::from(length) / 2).saturating_sub(u64::from(side / 2)).min(u64::from(whole - side))
            as u32
    };
    let (w, h) = (side(input.0, picture.0), side(input.1, picture.1));
    let (x, y) = (place(region.x, region.w, w, picture.0), place(region.y, region.h, h, picture.1));
    Region { x, y, w, h }
}

fn contains(outer: Region, inner: Region) -> bool {
    union(outer, inner) == outer
}

fn union(a: Region, b: Region) -> Region {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    Region { x, y, w: (a.x + a.w).max(b.x + b.w) - x, h: (a.y + a.h).max(b.y + b.h) - y }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moved(x: u32, y: u32, w: u32, h: u32) -> Moved {
        Moved { region: Region { x, y, w, h }, cells: 9 }
    }

    #[test]
    fn a_walker_far_off_is_seen_at_full_size() {
        let found = crops(&[moved(900, 500, 30, 70)], (1920, 1080), (320, 320));
        assert_eq!(found, [Region { x: 755, y: 375, w: 320, h: 320 }]);
    }

    #[test]
    fn neighbours_share_a_crop_and_the_border_holds() {
        let two = [moved(0, 0, 30, 70), moved(60, 10, 30, 70)];
        assert_eq!(crops(&two, (1920, 1080), (320, 320)), [Region { x: 0, y: 0, w: 320, h: 320 }]);
    }

    #[test]
    fn small_pictures_and_all_of_a_picture_need_none() {
        assert!(crops(&[moved(10, 10, 30, 30)], (640, 480), (320, 320)).is_empty());
        assert!(crops(&[moved(0, 0, 1900, 1000)], (1920, 1080), (320, 320)).is_empty());
    }

    proptest! {
        #[test]
        fn crops_lie_within_the_picture(
            regions in prop::collection::vec((0u32..1900, 0u32..1070, 1u32..1900, 1u32..1000), 0..12),
        ) {
            let moved: Vec<Moved> =
                regions.iter().map(|(x, y, w, h)| moved(*x, *y, (*w).min(1920 - x), (*h).min(1080 - y))).collect();
            let found = crops(&moved, (1920, 1080), (320, 320));
            prop_assert!(found.len() <= 4);
            for crop in &found {
                prop_assert!(crop.w >= 320 && crop.h >= 320);
                prop_assert!(crop.x + crop.w <= 1920 && crop.y + crop.h <= 1080);
            }
        }
    }
}
