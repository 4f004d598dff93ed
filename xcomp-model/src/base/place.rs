//! Where a tensor stands in a model.

/// One of the three modules of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// The language model with its embeddings and head.
    Llm,
    /// Between tower and language model.
    Connector,
    /// The vision tower.
    Vision,
}

impl Region {
    /// All of them, in the order in which parameters are listed.
    pub const ALL: [Self; 3] = [Self::Llm, Self::Connector, Self::Vision];

    /// Its word in recipes and plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Connector => "projector",
            Self::Vision => "vision",
        }
    }
}

/// Where a tensor stands in the model, whatever its checkpoint calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The token embeddings.
    Embed,
    /// A decoder layer, 0-based.
    Layer(usize),
    /// The learned token of windows, and the maps that it has of its own.
    Vst,
    /// The final norm of the language model.
    Norm,
    /// The untied language-model head.
    Head,
    /// The connector.
    Connector,
    /// The token of the connector behind rows or frames: tuned with the language model, as in LLaVA (`mm_language_model`).
    Newline,
    /// The vision tower.
    Vision,
}

impl Place {
    /// The place of the parameter at a path of module fields; `None` if no module has it.
    pub fn of(region: Region, path: &str) -> Option<Self> {
        match region {
            Region::Connector if path == "image_newline" => return Some(Self::Newline),
            Region::Connector => return Some(Self::Connector),
            Region::Vision => return Some(Self::Vision),
            Region::Llm => {}
        }
        if path.starts_with("lm_head.") {
            return Some(Self::Head);
        }
        if path.contains("beacon_") {
            return Some(Self::Vst);
        }
        let (field, rest) = path.strip_prefix("model.")?.split_once('.')?;
        match field {
            "embed_tokens" => Some(Self::Embed),
            "norm" => Some(Self::Norm),
            "layers" => Some(Self::Layer(rest.split('.').next()?.parse().ok()?)),
            _ => None,
        }
    }

    /// The module with which it is tuned: that which it belongs to, but the language model for the newline token.
    pub fn tuned_with(self) -> Region {
        if self == Self::Newline { Region::Llm } else { self.region() }
    }

    /// The module it belongs to.
    pub fn region(self) -> Region {
        match self {
            Self::Connector | Self::Newline => Region::Connector,
            Self::Vision => Region::Vision,
            _ => Region::Llm,
        }
    }
}
