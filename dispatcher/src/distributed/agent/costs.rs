//! Which cameras' costs are worth telling.

use std::collections::BTreeMap;

use detektor_contract::CameraId;

/// A change by less is none, in hundredths.
const NEWS_PERCENT: u64 = 10;

/// What was told of cameras' costs.
#[derive(Debug, Default)]
pub(super) struct Costs {
    told: BTreeMap<CameraId, u32>,
}

impl Costs {
    /// The costs of cameras that run here and cost something else than what was told.
    pub(super) fn news(
        &mut self,
        costs: Vec<(CameraId, u32)>,
        runs_here: impl Fn(&CameraId) -> bool,
    ) -> Vec<(CameraId, u32)> {
        self.told.retain(|camera, _| runs_here(camera));
        costs.into_iter().filter(|(camera, cost)| runs_here(camera) && self.is_news(camera, *cost)).collect()
    }

    /// These were told.
    pub(super) fn told(&mut self, costs: &[(CameraId, u32)]) {
        self.told.extend(costs.iter().cloned());
    }

    fn is_news(&self, camera: &CameraId, cost: u32) -> bool {
        let Some(told) = self.told.get(camera) else { return true };
        u64::from(cost.abs_diff(*told)) * 100 > u64::from(*told) * NEWS_PERCENT
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_changed_by_much_is_news() {
        let camera = |name: &str| CameraId::new(name).unwrap();
        let mut costs = Costs::default();
        let mut news = |cost, here: bool| {
            let news = costs.news(vec![(camera("a"), cost)], |_| here);
            costs.told(&news);
            news.len()
        };
        assert_eq!(
            [news(100, true), news(109, true), news(91, true), news(112, true), news(112, true)],
            [1, 0, 0, 1, 0]
        );
        assert_eq!([news(500, false), news(112, true)], [0, 1], "one that comes again is told again");
    }
}
