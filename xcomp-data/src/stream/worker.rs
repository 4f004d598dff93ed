//! A decoding thread: reads what its ticket names, or what takes its place.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::StreamOptions;
use super::order::Ticket;
use super::policy::{BadSamplePolicy, NEIGHBOUR_STEPS, QuarantineEvent};
use super::queue::{Outcome, Queue};
use crate::media::limits::Watch;
use crate::sample::example::Example;
use crate::sample::load::load_gated;
use crate::sample::options::TooLong;
use crate::{DataError, Mixture};

/// Works until the queue has nothing more.
pub(super) fn run(queue: &Queue, mixture: &Mixture, options: &StreamOptions) {
    while let Some((number, ticket)) = queue.issue() {
        let started = Instant::now();
        let mut reader = Reader { queue, mixture, options, number, reserved: 0 };
        // A ticket is always handed in: the trainer waits for it.
        let followed = catch_unwind(AssertUnwindSafe(|| reader.follow(&ticket)));
        let outcome = followed.unwrap_or_else(|_| {
            let what = format!("a thread that reads samples panicked at sample {}", ticket.index);
            Outcome { after: ticket.after, example: Err(DataError::Internal(what)), event: None }
        });
        queue.put(number, outcome, reader.reserved, started.elapsed());
    }
}

struct Reader<'a> {
    queue: &'a Queue,
    mixture: &'a Mixture,
    options: &'a StreamOptions,
    number: u64,
    /// Bytes that the queue counts for this ticket.
    reserved: usize,
}

impl Reader<'_> {
    fn follow(&mut self, ticket: &Ticket) -> Outcome {
        let (example, event) = match self.load(ticket.index) {
            Ok(example) => (Ok(Some(example)), None),
            Err(error) => self.replace(ticket, &error),
        };
        Outcome { after: ticket.after, example, event }
    }

    /// Follows the policy for a sample that cannot be read.
    fn replace(
        &mut self,
        ticket: &Ticket,
        error: &DataError,
    ) -> (Result<Option<Example>, DataError>, Option<QuarantineEvent>) {
        let mut event = self.event(ticket, error);
        let ends = matches!(error, DataError::TooLong { .. })
            && self.options.load.too_long == TooLong::Stop;
        let policy = if ends { BadSamplePolicy::Fail } else { self.options.bad.policy };
        let example = match policy {
            BadSamplePolicy::Skip => Ok(None),
            BadSamplePolicy::Fail => Err(self.failed(ticket, error.to_string())),
            BadSamplePolicy::Neighbour => match self.neighbour(ticket.index) {
                Some((index, example)) => {
                    event.replaced_by = Some(index);
                    Ok(Some(example))
                }
                None => Err(self.failed(ticket, format!("{error}; nor can its neighbours"))),
            },
        };
        (example, Some(event))
    }

    /// The first record 5, 10, 20, 40 or 80 places further that can be read; past the end, the last one.
    ///
    /// Where the reference ends, because none of them can, records as far before are tried.
    fn neighbour(&mut self, index: usize) -> Option<(usize, Example)> {
        let last = self.mixture.len() - 1;
        let behind = NEIGHBOUR_STEPS.iter().map(|step| (index + step).min(last));
        let before = NEIGHBOUR_STEPS.iter().map(|step| index.saturating_sub(*step));
        behind.chain(before).find_map(|other| Some((other, self.load(other).ok()?)))
    }

    /// Reads one record; a decoder that panics is one more file that cannot be read.
    fn load(&mut self, index: usize) -> Result<Example, DataError> {
        let record = &self.mixture.records()[index];
        let watch = Watch::start(&self.options.load.limits, self.queue.cancel());
        let (queue, number) = (self.queue, self.number);
        let mut reserved = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            load_gated(record, index, &self.options.load, &watch, &mut |bytes| {
                queue.reserve(number, bytes);
                reserved += bytes;
            })
        }));
        let result = result.unwrap_or_else(|_| {
            let message = "its decoder panicked; please report the file".to_owned();
            Err(DataError::Decode { path: record.path(), message })
        });
        match &result {
            Ok(_) => self.reserved = reserved,
            Err(_) => queue.release(reserved),
        }
        result
    }

    fn event(&self, ticket: &Ticket, error: &DataError) -> QuarantineEvent {
        let record = &self.mixture.records()[ticket.index];
        QuarantineEvent {
            epoch: ticket.epoch,
            place: ticket.place,
            index: ticket.index,
            id: record.id.clone(),
            source: record.source().to_string(),
            path: record.path(),
            reason: error.to_string(),
            replaced_by: None,
        }
    }

    fn failed(&self, ticket: &Ticket, message: String) -> DataError {
        let source_tag = self.mixture.records()[ticket.index].source().to_string();
        DataError::BadSample { index: ticket.index, source_tag, message }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::stream::order::Tickets;
    use crate::stream::{BadSample, Order, Position};
    use crate::{LoadOptions, MixtureOptions, Tokenizer};

    /// So many records of a picture that is not there.
    fn mixture(folder: &Path, count: usize) -> Arc<Mixture> {
        let record = r#"{"image": "gone.png", "conversations": [
            {"from": "human", "value": "<image>"}, {"from": "gpt", "value": "x"}]}"#;
        std::fs::write(folder.join("a.json"), format!("[{}]", vec![record; count].join(",")))
            .unwrap();
        std::fs::write(folder.join("m.yaml"), "datasets: [{json_path: a.json}]").unwrap();
        let options = MixtureOptions { check_media: false, ..MixtureOptions::default() };
        Arc::new(Mixture::load(&folder.join("m.yaml"), &options).unwrap())
    }

    fn tokenizer(folder: &Path) -> Arc<Tokenizer> {
        let names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
        let added = names.iter().enumerate().map(|(id, name)| {
            serde_json::json!({"id": id, "content": name, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true})
        });
        let file = serde_json::json!({
            "version": "1.0", "added_tokens": added.collect::<Vec<_>>(),
            "model": {"type": "BPE", "vocab": {"\n": 3}, "merges": []},
        });
        let path = folder.join("tokenizer.json");
        std::fs::write(&path, file.to_string()).unwrap();
        Arc::new(Tokenizer::from_file(&path).unwrap())
    }

    /// The trainer waits for each ticket: one whose worker panics outside of the decoders is handed in as an error.
    #[test]
    fn a_panic_leaves_no_ticket_open() {
        let folder = tempfile::tempdir().unwrap();
        let options = StreamOptions {
            order: Order::Sequential,
            epochs: Some(1),
            workers: 1,
            bad: BadSample { policy: BadSamplePolicy::Skip, ..BadSample::default() },
            ..StreamOptions::new(LoadOptions::new(tokenizer(folder.path())), 0)
        };
        let tickets =
            Tickets::new(mixture(folder.path(), 3), &options, &Position::start()).unwrap();
        let queue = Queue::new(tickets, 1 << 20, 1);
        // To look up the records of the second and third ticket panics.
        run(&queue, &mixture(folder.path(), 1), &options);
        let outcomes: Vec<Outcome> = std::iter::from_fn(|| queue.take()).collect();
        let after: Vec<_> = outcomes.iter().map(|outcome| outcome.after).collect();
        assert_eq!(after, [(0, 1), (0, 2), (0, 3)]);
        assert!(outcomes[0].event.is_some(), "the first is a sample that cannot be read");
        for (at, outcome) in outcomes.iter().enumerate().skip(1) {
            let told = outcome.example.as_ref().unwrap_err().to_string();
            assert!(told.contains(&format!("panicked at sample {at}")), "{told}");
        }
    }
}
