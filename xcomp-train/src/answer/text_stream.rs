//! Where an answer ends at a string, and what may be shown before a string is ruled out.

/// The text of an answer as it grows, cut before the first stop string.
///
/// Text that may yet turn out to be the beginning of a stop string, or of a character, is held back.
#[derive(Debug)]
pub struct GrowingText<'a> {
    stop: &'a [String],
    text: String,
    /// Bytes of `text` that were given out.
    shown: usize,
    ended: bool,
}

impl<'a> GrowingText<'a> {
    /// Nothing is written yet; an empty stop string stops nothing.
    pub fn new(stop: &'a [String]) -> Self {
        Self { stop, text: String::new(), shown: 0, ended: false }
    }

    /// Takes the whole text so far and gives what is new in it and certain.
    pub fn grow(&mut self, text: String) -> &str {
        let stops = self.stop.iter().filter(|stop| !stop.is_empty());
        let end = stops.clone().filter_map(|stop| text.find(stop.as_str())).min();
        self.text = text;
        self.ended = end.is_some();
        if let Some(end) = end {
            self.text.truncate(end);
            return self.rest();
        }
        let whole = self.text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let begun = stops.map(|stop| begun(whole, stop)).max().unwrap_or(0);
        let certain = whole.len() - begun;
        self.show_to(certain)
    }

    /// Whether a stop string was written.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What was held back, once nothing follows.
    pub fn rest(&mut self) -> &str {
        self.show_to(self.text.len())
    }

    /// The answer.
    pub fn into_text(self) -> String {
        self.text
    }

    fn show_to(&mut self, end: usize) -> &str {
        let from = self.shown;
        self.shown = from.max(end);
        // A tokenizer may write earlier bytes anew; then nothing certain is left to show.
        self.text.get(from..end).unwrap_or_default()
    }
}

/// Bytes at the end of `text` that are the beginning of `stop`.
fn begun(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(at, _)| at);
    lengths.rev().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown after each piece and at the end, `|` between them.
    fn check(stop: &[&str], pieces: &[&str], shown: &str, answer: &str) {
        let stop: Vec<String> = stop.iter().map(|stop| (*stop).to_owned()).collect();
        let mut text = GrowingText::new(&stop);
        let (mut written, mut parts) = (String::new(), vec![]);
        for piece in pieces {
            written += piece;
            parts.push(text.grow(written.clone()).to_owned());
            if text.ended() {
                break;
            }
        }
        parts.push(text.rest().to_owned());
        assert_eq!(parts.join("|"), shown, "{stop:?} {pieces:?}");
        assert_eq!(text.into_text(), answer, "{stop:?} {pieces:?}");
    }

    #[test]
    fn a_stop_string_is_never_shown_however_it_is_split() {
        check(&[], &["It is ", "red."], "It is |red.|", "It is red.");
        check(&["\n\n"], &["red", ".\n", "\nNext"], "red|.||", "red.");
        check(&["User:"], &["red U", "s", "er", ": what"], "red ||||", "red ");
        check(&["User:"], &["red U", "se it"], "red |Use it|", "red Use it");
        check(&["User:"], &["red Us"], "red |Us", "red Us");
        check(&["ab", "b"], &["xa", "b"], "x||", "x");
        check(&["b", "xx"], &["axbxx"], "ax|", "ax");
        check(&["aab"], &["a", "a", "a", "b"], "||a||", "a");
        check(&[""], &["red"], "red|", "red");
    }

    #[test]
    fn a_character_that_is_not_whole_yet_is_held_back() {
        let mut text = GrowingText::new(&[]);
        assert_eq!(text.grow("caf\u{fffd}".into()), "caf");
        assert_eq!(text.grow("café".into()), "é");
        assert_eq!(text.grow("café \u{fffd}".into()), " ");
        assert_eq!(text.rest(), "\u{fffd}");
    }

    #[test]
    fn a_text_written_anew_breaks_nothing() {
        let mut text = GrowingText::new(&[]);
        assert_eq!(text.grow("éa".into()), "éa");
        assert_eq!(text.grow("éé".into()), "");
        assert_eq!(text.grow(String::new()), "");
        assert_eq!(text.rest(), "");
    }
}
