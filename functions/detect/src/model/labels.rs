//! The names of a model's classes.

use std::sync::Arc;

use detektor_contract::Label;

/// The 90 ids of COCO's "things", of which the dataset never used ten; a model's class index is the id less one.
const COCO_90: [&str; 90] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "",
    "backpack",
    "umbrella",
    "",
    "",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "",
    "dining table",
    "",
    "",
    "toilet",
    "",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// Class names by class index. An index may have none: the model has an output for it that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Arc<[Option<Label>]>);

impl Labels {
    /// Labels by index; an empty name means that the index is unused.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(|name| (!name.is_empty()).then(|| Label::from(name))).collect())
    }

    /// A set that manifests may name: `coco-90` (with the gaps in COCO's ids) or `coco-80` (without).
    pub fn named(set: &str) -> Option<Self> {
        match set {
            "coco-90" => Some(Self::new(COCO_90)),
            "coco-80" => Some(Self::new(COCO_90.into_iter().filter(|name| !name.is_empty()))),
            _ => None,
        }
    }

    /// How many classes the model has outputs for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none; never so for a manifest that loaded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The label of a class; none where the index is unused or out of range.
    pub fn get(&self, class: u16) -> Option<&Label> {
        self.0.get(usize::from(class))?.as_ref()
    }

    /// The labels there are, by rising class index.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Label)> {
        (0..).zip(self.0.iter()).filter_map(|(class, label)| Some((class, label.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn coco_keeps_its_gaps() {
        let labels = Labels::named("coco-90").unwrap();
        assert_eq!(labels.iter().count(), 80);
        // Ids from the dataset's own list; the class index is the id less one.
        for (id, name) in
            [(1, "person"), (3, "car"), (13, "stop sign"), (44, "bottle"), (70, "toilet"), (90, "toothbrush")]
        {
            assert_eq!(labels.get(id - 1).unwrap().as_str(), name);
        }
        assert_eq!(labels.get(11), None);
        let dense = Labels::named("coco-80").unwrap();
        assert_eq!((dense.len(), dense.get(79).unwrap().as_str()), (80, "toothbrush"));
    }
}
