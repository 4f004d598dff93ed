//! What the frozen tower made of frames, kept on disk: found by content, so that a later epoch or run opens no media.
//!
//! A key is a hash over the encoder (weights, code, settings), the bytes of the media and the choice of frames:
//! whatever changes one of them asks for another record, so there is nothing to invalidate.

mod content;
mod key;
mod payload;
pub mod store;

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use crate::DataError;
use crate::frames::{Choice, FrameOptions};
use crate::media::read::Source;
use content::content_of;
pub use key::{Encoder, Key};
pub use payload::{FeatureValues, Features};
use store::{Store, StoreOptions};

/// How keys are made: from versions of the code, not from its text.
const KEY_SCHEME: &str = "versions";

/// Features of one encoder in a store that others may share.
#[derive(Debug)]
pub struct FeatureCache {
    store: Store,
    encoder: Key,
}

/// Where the features of a visual belong once they are made.
#[derive(Debug, Clone)]
pub struct FeatureSlot {
    cache: Arc<FeatureCache>,
    key: Key,
    choice: Choice,
}

/// What the store says about a visual.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its features, and the frames that they are of.
    Features(Features, Choice),
    /// Nothing yet; the key where the media can be read.
    Nothing(Option<Key>),
}

impl FeatureCache {
    /// Opens or makes a store in `folder` for the features of `encoder`.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        folder: &Path,
        options: StoreOptions,
        encoder: &Encoder,
    ) -> Result<Self, DataError> {
        let store = Store::open(folder, options)?;
        store.tell_of_older_keys(KEY_SCHEME);
        Ok(Self { store, encoder: encoder.key() })
    }

    /// The records behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The features of a source; `gate` hears their bytes before they are read, and may wait.
    pub(crate) fn find(
        &self,
        source: &Source,
        options: &FrameOptions,
        gate: &mut dyn FnMut(usize),
    ) -> Found {
        let Some(key) = self.key(source, options) else { return Found::Nothing(None) };
        let Some(length) = self.store.length(&key) else { return Found::Nothing(Some(key)) };
        gate(length);
        match self.store.get(&key).as_deref().and_then(payload::decode) {
            Some((features, choice)) => Found::Features(features, choice),
            None => Found::Nothing(Some(key)),
        }
    }

    /// Where the features of these frames belong.
    pub(crate) fn slot(self: &Arc<Self>, key: Key, choice: &Choice) -> FeatureSlot {
        FeatureSlot { cache: Arc::clone(self), key, choice: choice.clone() }
    }

    /// Whether the features of a source are there.
    pub(crate) fn has(&self, source: &Source, options: &FrameOptions) -> bool {
        self.key(source, options).is_some_and(|key| self.store.length(&key).is_some())
    }

    /// `None` where the media cannot be read and were never seen: their reader will say why.
    fn key(&self, source: &Source, options: &FrameOptions) -> Option<Key> {
        let content = content_of(&self.store, source)?;
        Some(key::of_features(&self.encoder, &content, source, options))
    }
}

impl FeatureSlot {
    /// Keeps the features; a store that cannot be written notes it once and goes on without.
    pub fn fill(&self, features: &Features) {
        if self.cache.store.length(&self.key).is_none() {
            self.cache.store.put(&self.key, &payload::encode(features, &self.choice));
        }
    }
}

/// How many records of a mixture have the features of all that they show, and how many not; `options` are those of each record.
pub fn coverage(
    cache: &FeatureCache,
    records: &[crate::Record],
    options: &(dyn Fn(&crate::Record) -> FrameOptions + Sync),
) -> (usize, usize) {
    let has = |record: &&crate::Record| {
        let options = options(record);
        Source::all(record).all(|source| cache.has(&source, &options))
    };
    let have = records.par_iter().filter(has).count();
    (have, records.len() - have)
}
