//! Kind l: learning rate, loss and gradient norm of the released run's own log.

use xcomp_tests::cases;
use xcomp_train::plan::lr::LrSchedule;
use xcomp_train::recipe::tables::{LrKind, LrTable};
use xcomp_train::run::released::windows;

/// Columns of the log: step, learning rate, loss, gradient norm.
fn log(case: &xcomp_tests::Case) -> Vec<(usize, f64, f64, f64)> {
    let text = std::fs::read_to_string(case.path.join("lr.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("step,epoch,learning_rate,loss,grad_norm"));
    let row = |line: &str| {
        let n: Vec<f64> = line.split(',').map(|cell| cell.parse().unwrap()).collect();
        (n[0] as usize, n[2], n[3], n[4])
    };
    lines.map(row).collect()
}

/// Pins: warm-up rounded up, the cosine, and that the rate logged at a step is that of the next.
#[test]
fn l_learning_rate() {
    for case in cases("l_lr") {
        let (peak, steps) = (case.number("/config/peak"), case.count("/config/max_steps"));
        let table = LrTable {
            lr_scheduler_type: LrKind::Cosine,
            warmup_ratio: case.number("/config/warmup_ratio"),
            ..LrTable::default()
        };
        let schedule = LrSchedule::new(&table, steps);
        assert_eq!(schedule.warmup(), case.count("/config/warmup_steps"));
        let (rtol, atol) = (case.number("/tolerances/lr/rtol"), case.number("/tolerances/lr/atol"));
        let log = log(&case);
        assert_eq!(log.len(), case.count("/config/rows"));
        for (step, want, _, _) in log {
            let got = peak * schedule.factor(step);
            assert!((got - want).abs() <= atol + rtol * want, "step {step}: {got}, not {want}");
        }
    }
}

/// The table that `xcomp compare` ships is that of the log.
#[test]
fn l_bands_of_the_released_run() {
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance.sqrt())
    };
    for case in cases("l_lr") {
        let log = log(&case);
        let windows = windows();
        assert_eq!((windows[0].first, windows.last().unwrap().last), (1, log.len()));
        for window in windows {
            let part = &log[window.first - 1..window.last];
            let loss = moments(&part.iter().map(|row| row.2).collect::<Vec<_>>());
            let norm = moments(&part.iter().map(|row| row.3).collect::<Vec<_>>());
            for (got, want) in [(window.loss, loss), (window.grad_norm, norm)] {
                assert!(
                    (got.0 - want.0).abs() < 1e-5 && (got.1 - want.1).abs() < 1e-5,
                    "{window:?}"
                );
            }
        }
    }
}
