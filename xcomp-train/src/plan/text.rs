//! A plan as a page of text.

use std::fmt;

use super::report::{PlanReport, SampleCost};
use crate::plan::cost::layers::LayerCost;
use crate::plan::cost::memory::Moment;
use crate::show::numbers::{bytes, decimal, grouped, scaled};

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "recipe       {}", self.recipe)?;
        writeln!(f, "model        {}", self.config)?;
        self.parameters(f)?;
        self.adapters.iter().try_for_each(|adapters| writeln!(f, "{adapters}"))?;
        writeln!(f, "{}", self.groups)?;
        self.compression(f)?;
        self.run(f)?;
        self.flops(f)?;
        self.memory(f)?;
        self.disk_and_time(f)?;
        self.lanes.iter().try_for_each(|lanes| lanes.fmt(f))?;
        self.ranks.iter().try_for_each(|ranks| ranks.fmt(f))
    }
}

impl PlanReport {
    fn parameters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "parameters   {:<12}{:>16}{:>16}", "part", "tuned", "frozen")?;
        for part in &self.parameters {
            let (tuned, frozen) = (grouped(part.tuned), grouped(part.frozen));
            writeln!(f, "             {:<12}{tuned:>16}{frozen:>16}", part.part)?;
        }
        let (tuned, frozen) = (grouped(self.tuned), grouped(self.total - self.tuned));
        writeln!(f, "             {:<12}{tuned:>16}{frozen:>16}  of {}", "all", grouped(self.total))
    }

    fn compression(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens: Vec<String> = self.tokens_per_layer.iter().copied().map(decimal).collect();
        writeln!(
            f,
            "compression  {}, {} kept, {:.2} tokens a frame in the mean; in each layer",
            self.schedule, self.keep, self.mean_tokens_per_frame
        )?;
        writeln!(f, "             {}", tokens.join(" "))?;
        if !self.budgets.is_empty() {
            let budgets: Vec<String> = self.budgets.iter().copied().map(decimal).collect();
            let budgets = budgets.join(", ");
            writeln!(
                f,
                "             every sample draws one of {budgets} tokens a frame; layers, samples and memory here are of the largest"
            )?;
        }
        match &self.windows {
            None => Ok(()),
            Some(windows) => writeln!(f, "{windows}"),
        }
    }

    fn run(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = if self.samples_counted { "counted" } else { "expected, mixture not read" };
        writeln!(f, "data         {} samples ({origin})", grouped(self.samples as u64))?;
        writeln!(
            f,
            "steps        {} of {} samples, warm-up {}",
            grouped(self.steps as u64),
            self.samples_per_step,
            self.warmup_steps
        )?;
        let Some(padding) = &self.padding else { return Ok(()) };
        let (share, samples) = (100.0 * padding.share(), padding.samples);
        let what = if padding.packed {
            "packed: no token is padding, of which there would be"
        } else if padding.apart {
            "side by side: only short samples are padded, of all together there would be"
        } else {
            "padded: [data] packing = true saves"
        };
        writeln!(f, "forwards     {what} {share:.0} % ({samples} samples looked at)")
    }

    fn flops(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, sample) in [("mean sample", &self.mean), ("worst sample", &self.worst)] {
            writeln!(
                f,
                "{name:<13}{} frames, {} text tokens, {} of them supervised: {} tokens in, {} out, {}",
                sample.frames,
                sample.text_tokens,
                sample.supervised_tokens,
                grouped(sample.tokens_in as u64),
                grouped(sample.tokens_out as u64),
                bytes(sample.bytes)
            )?;
            writeln!(f, "             {}", flops_line(sample))?;
            let each = |figure: fn(&LayerCost) -> String| -> String {
                sample.layers.iter().map(figure).collect::<Vec<_>>().join(" ")
            };
            let flops = each(|layer| scaled(layer.forward_flops + layer.backward_flops));
            writeln!(f, "             FLOPs of each layer: {flops}")?;
            writeln!(
                f,
                "             bytes kept by each: {}",
                each(|layer| scaled(layer.kept_bytes as f64))
            )?;
        }
        let again = if self.recompute { "layers run again" } else { "everything kept" };
        writeln!(
            f,
            "run          {} model FLOPs, {} on the device ({again})",
            scaled(self.run_flops),
            scaled(self.run_hardware_flops)
        )
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.memory;
        writeln!(
            f,
            "memory       {} at the peak of the worst step, {}",
            bytes(self.memory_peak),
            memory.moment
        )?;
        writeln!(
            f,
            "             tuned weights {}, frozen {}, gradients {}, moments {}",
            bytes(memory.tuned_weights),
            bytes(memory.frozen_weights),
            bytes(memory.gradients),
            bytes(memory.moments)
        )?;
        writeln!(
            f,
            "             activations {}, logits {}, work {}, frames {}, process {}",
            bytes(memory.activations),
            bytes(memory.logits),
            bytes(memory.work),
            bytes(memory.frames),
            bytes(memory.process)
        )?;
        writeln!(
            f,
            "             and on the host {} for frames that wait and a tensor on its way to disk",
            bytes(self.host_bytes)
        )?;
        self.choice.iter().try_for_each(|choice| writeln!(f, "{choice}"))?;
        self.does_not_fit.iter().try_for_each(|why| writeln!(f, "limit        {why}"))
    }

    fn disk_and_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "disk         {} at most; a checkpoint {}, an export {}",
            bytes(self.disk_bytes),
            bytes(self.checkpoint_bytes),
            bytes(self.export_bytes)
        )?;
        if let Some(measured) = self.measured {
            let rate = format!("at {:.3} samples/s", measured.samples_per_sec);
            return time(f, measured.run_s, &rate, measured.frames_per_sec);
        }
        match (self.run_s_at_40_percent, self.frames_per_sec_at_40_percent) {
            (Some(seconds), Some(frames)) => {
                time(f, seconds, "at 40 % of the device's peak", frames)
            }
            _ => writeln!(
                f,
                "time         unknown: give --samples-per-sec, --measured RUN or [log] peak_tflops"
            ),
        }
    }
}

fn time(f: &mut fmt::Formatter<'_>, seconds: f64, rate: &str, frames_per_sec: f64) -> fmt::Result {
    let (hours, frames) = (seconds / 3600.0, frames_per_sec);
    writeln!(
        f,
        "time         {hours:.1} h {rate}, which needs {frames:.0} frames/s from the data path"
    )
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels => write!(f, "when a clip enters the tower"),
            Self::Merge => write!(f, "when tokens are merged"),
            Self::Connect => write!(f, "when all tokens of the frames are projected"),
            Self::Loss => write!(f, "when the loss goes back"),
            Self::Backward(layer) => write!(f, "in the backward of layer {layer}"),
            Self::Collect => write!(f, "when gradients become one set"),
            Self::Update => write!(f, "when the optimizer moves the largest tensor"),
        }
    }
}

fn flops_line(sample: &SampleCost) -> String {
    let flops = &sample.flops;
    let parts = [
        ("vision", flops.vision),
        ("merge", flops.merge),
        ("projector", flops.projector),
        ("llm forward", flops.llm_forward_matmul + flops.llm_forward_attention),
        ("backward", flops.llm_backward_matmul + flops.llm_backward_attention),
        ("head", flops.head),
    ];
    let parts: Vec<String> =
        parts.iter().map(|(name, flops)| format!("{name} {}", scaled(*flops))).collect();
    format!("{} FLOPs: {}", scaled(sample.model_flops), parts.join(", "))
}
