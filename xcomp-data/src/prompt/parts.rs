//! Conversations whose turns are tokenized part by part (`preprocess_qwen` of Video-XL's `train.py`), and captions alone.

use crate::mixture::turns::USER;
use crate::prompt::template::{IGNORE, IMAGE_TAG, IMAGE_TOKEN, Prompt, Template, is_target};
use crate::python::is_space;
use crate::{DataError, Tokenizer};

/// Appends a turn: header, pictures with a line break behind the last one, text, footer.
///
/// Learnt are what the assistant says and the token behind it; with `marks` also the token that begins a turn and those that end it,
/// whoever speaks.
pub(super) fn push(
    prompt: &mut Prompt,
    template: &Template,
    tokenizer: &Tokenizer,
    (role, value): (&str, &str),
    marks: bool,
) -> Result<(), DataError> {
    let (header, footer) = (template.header(role), template.footer(role));
    let [header, footer] = [header.as_str(), footer].map(|text| tokenizer.encode(text));
    let (header, footer) = (header?, footer?);
    let (pictures, text) = if role == USER { pictures_first(value) } else { (0, value.to_owned()) };
    let target = is_target(role);
    let mut add = |ids: Vec<i32>, learnt: &dyn Fn(usize) -> bool| {
        let label = |(at, id): (usize, &i32)| if learnt(at) { *id } else { IGNORE };
        prompt.labels.extend(ids.iter().enumerate().map(label));
        prompt.input_ids.extend(ids);
    };
    add(header, &|at| marks && at == 0);
    if pictures > 0 {
        add(vec![IMAGE_TOKEN; pictures], &|_| false);
        add(tokenizer.encode("\n")?, &|_| false);
    }
    if !text.is_empty() {
        add(tokenizer.encode(&text)?, &|_| target);
    }
    add(footer, &|at| marks || (target && at == 0));
    Ok(())
}

/// How many pictures a question has, and its words without their tags: pictures stand before all words.
fn pictures_first(value: &str) -> (usize, String) {
    let pictures = value.matches(IMAGE_TAG).count();
    let rest = value.strip_prefix(&IMAGE_TAG.repeat(pictures));
    let text = rest.filter(|rest| !rest.contains(IMAGE_TAG)).map(str::to_owned);
    (
        pictures,
        text.unwrap_or_else(|| {
            format!("\n{}", value.replace(IMAGE_TAG, "").trim_matches(is_space))
        }),
    )
}

/// A picture and what is said of it (`preprocess_plain`): all but the picture is learnt.
pub(super) fn caption(tokenizer: &Tokenizer, said: &[(&str, String)]) -> Result<Prompt, DataError> {
    let pictures = said.iter().filter(|(role, _)| *role == USER);
    let pictures = pictures.map(|(_, value)| value.matches(IMAGE_TAG).count()).sum();
    let told = said.iter().filter(|(role, _)| is_target(role));
    let words: String = told.map(|(_, value)| value.as_str()).collect();
    let ids = tokenizer.encode(&(words + "\n"))?;
    let (mut input_ids, mut labels) = (vec![IMAGE_TOKEN; pictures], vec![IGNORE; pictures]);
    labels.extend(&ids);
    input_ids.extend(ids);
    Ok(Prompt { first_turn: pictures, input_ids, labels })
}
