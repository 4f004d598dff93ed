//! The converter that puts adapters beside the linear maps of a model.

use burn::tensor::Device;

use crate::base::family::{Family, Place, Region};
use crate::base::lora::LoraConfig;
use crate::connector::Connector;
use crate::decoder::qwen2::{DecoderLayer, Qwen2ForCausalLm};
use crate::layers::linear::Linear;
use crate::layers::lora::Lora;

/// A linear map of a model.
#[derive(Debug)]
pub struct Map<'a> {
    /// Its name in a checkpoint, without `.weight`.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// The map itself.
    pub linear: &'a mut Linear,
}

impl Map<'_> {
    /// Its inputs and its outputs.
    pub fn sizes(&self) -> (usize, usize) {
        let [outputs, inputs] = self.linear.weight.lazy_shape().dims::<2>();
        (inputs, outputs)
    }
}

/// The linear maps of language model and connector, in the order of their fields.
pub(crate) fn maps<'a>(
    family: &Family,
    llm: &'a mut Qwen2ForCausalLm,
    connector: &'a mut Connector,
) -> Vec<Map<'a>> {
    let layers = llm.model.layers.iter_mut().enumerate();
    let of_layers = layers.flat_map(|(at, layer)| {
        let path = move |(field, linear)| (format!("model.layers.{at}.{field}"), linear);
        of_layer(layer).into_iter().map(path)
    });
    let head = llm.lm_head.iter_mut().map(|head| ("lm_head".to_owned(), head));
    let mlp = connector.mlp.iter_mut().enumerate();
    let mlp = mlp.filter_map(|(at, map)| Some((format!("mlp.{at}"), map.as_mut()?)));
    let named = |region| {
        move |(path, linear): (String, &'a mut Linear)| {
            // A place is told by a parameter's path.
            let place = Place::of(region, &format!("{path}.weight"));
            let place = place.expect("a map of the model has a place");
            Map { name: family.names(region).name(&path), place, linear }
        }
    };
    let llm: Vec<_> = of_layers.chain(head).map(named(Region::Llm)).collect();
    llm.into_iter().chain(mlp.map(named(Region::Connector))).collect()
}

/// The maps of a decoder layer by their paths.
fn of_layer(layer: &mut DecoderLayer) -> Vec<(&'static str, &mut Linear)> {
    let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
    let always = [
        ("self_attn.q_proj", &mut attention.q_proj),
        ("self_attn.k_proj", &mut attention.k_proj),
        ("self_attn.v_proj", &mut attention.v_proj),
        ("self_attn.o_proj", &mut attention.o_proj),
        ("mlp.gate_proj", &mut mlp.gate_proj),
        ("mlp.up_proj", &mut mlp.up_proj),
        ("mlp.down_proj", &mut mlp.down_proj),
    ];
    let own = [
        ("self_attn.beacon_q_proj", &mut attention.beacon_q_proj),
        ("self_attn.beacon_k_proj", &mut attention.beacon_k_proj),
        ("self_attn.beacon_v_proj", &mut attention.beacon_v_proj),
        ("self_attn.beacon_o_proj", &mut attention.beacon_o_proj),
        ("mlp.beacon_up_proj", &mut mlp.beacon_up_proj),
        ("mlp.beacon_down_proj", &mut mlp.beacon_down_proj),
    ];
    let own = own.into_iter().filter_map(|(path, map)| Some((path, map.as_mut()?)));
    always.into_iter().chain(own).collect()
}

/// Puts an adapter beside every map that `config` names; all others stay as they are.
pub(crate) fn attach(maps: Vec<Map<'_>>, config: &LoraConfig, device: &Device) {
    for map in maps.into_iter().filter(|map| config.maps.contains_key(&map.name)) {
        let (inputs, outputs) = map.sizes();
        map.linear.lora = Some(Lora::new(inputs, outputs, config, device));
    }
}
