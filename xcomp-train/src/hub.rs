//! Names of the Hugging Face hub in recipes and arguments: `hf:OWNER/NAME@REVISION/path`, looked up in its cache.
//!
//! Only [`fetch`] asks the network; everything else reads what is there. The environment says where files lie and where they come
//! from (`HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, as in Python), never what is in them: a resolved
//! recipe names the commit.

mod cache;
mod client;
mod digest;
mod download;
mod error;
pub mod fetch;
mod listing;
mod name;

pub use cache::Hub;
pub use error::HubError;
pub use name::{Kind, Name, is_name};
