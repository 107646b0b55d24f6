//! `detektor-sim`: runs many seeds.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use detektor_sim::hosts::Flaw;
use detektor_sim::run::{Report, run};
use serde_json::json;

/// Runs the distributed parts in simulated time and network, once a seed, and checks what is left.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one.
    #[arg(long)]
    seed: Option<u64>,
    /// How many run at once; as many as there are processors, if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Let a server be wrong in this way: seeds have to fail.
    #[arg(long)]
    flaw: Option<Flaw>,
}

#[derive(Default)]
struct Total {
    failed: u64,
    first_failed: Option<u64>,
    faults: BTreeMap<&'static str, u64>,
    segments: u64,
    take_overs: u64,
    refolds: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        for (kind, count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.segments += report.segments;
        self.take_overs += report.take_overs;
        self.refolds += report.refolds;
        if !report.wrong.is_empty() {
            self.failed += 1;
            self.first_failed = Some(self.first_failed.map_or(report.seed, |first| first.min(report.seed)));
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (from, seeds) = arguments.seed.map_or((arguments.from, arguments.seeds), |seed| (seed, 1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, total) = (AtomicU64::new(from), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.unwrap_or(cores).max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let report = run(seed, arguments.flaw);
                    if !report.wrong.is_empty() {
                        tell(&report);
                    }
                    total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&report);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let summary = json!({
        "seeds": seeds,
        "failed": total.failed,
        "first_failed": total.first_failed,
        "faults": total.faults,
        "segments": total.segments,
        "take_overs": total.take_overs,
        "refolds": total.refolds,
    });
    println!("{summary}");
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says what is wrong with a seed, and how to see it again.
fn tell(report: &Report) {
    const MOST: usize = 10;
    let mut text = format!("seed {}: faults {:?}\n", report.seed, report.faults);
    for wrong in report.wrong.iter().take(MOST) {
        text.push_str(&format!("  {wrong}\n"));
    }
    if report.wrong.len() > MOST {
        text.push_str(&format!("  and {} more\n", report.wrong.len() - MOST));
    }
    eprintln!("{text}  again: just sim --seed {}", report.seed);
}
