//! Round trips of every dtype and layout, and every way a folder of weights can be wrong.

use std::fs;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;
use crate::base::family::Names;
use crate::base::videochat_flash::VIDEOCHAT_FLASH;
use crate::error::ModelError;
use crate::layers::linear::Linear;

/// A language model of two tensors: what the loader knows of a head depends on these names.
#[derive(Module, Debug)]
struct Llm {
    model: Inner,
    lm_head: Option<Linear>,
}

#[derive(Module, Debug)]
struct Inner {
    embed_tokens: Table,
}

#[derive(Module, Debug)]
struct Table {
    weight: Param<Tensor<2>>,
}

/// A connector of one layer, in a list with a gap.
#[derive(Module, Debug)]
struct Mlp {
    mlp: Vec<Option<Linear>>,
}

#[derive(Debug)]
struct Model {
    llm: Llm,
    projector: Mlp,
}

const LLM: Names = VIDEOCHAT_FLASH.llm;
const PROJECTOR: Names = VIDEOCHAT_FLASH.connector;
const ROWS: usize = 3;
const WIDTH: usize = 4;

impl Model {
    /// Every number differs from every other and from those of another `seed`.
    fn new(seed: f32, device: &Device) -> Self {
        let values = |rows: usize, columns: usize, from: f32| {
            let count = rows * columns;
            let values: Vec<f32> = (0..count).map(|i| from + i as f32 * 0.37).collect();
            TensorData::new(values, [rows, columns])
        };
        let table = values(ROWS, WIDTH, seed);
        let weight = values(2, WIDTH, -seed);
        let bias = TensorData::new(vec![seed * 0.1, 1.0 / 3.0], [2]);
        let linear = Linear {
            weight: Param::from_data(weight, device),
            bias: Some(Param::from_data(bias, device)),
            lora: None,
        };
        let embed_tokens = Table { weight: Param::from_data(table, device) };
        Self {
            llm: Llm { model: Inner { embed_tokens }, lm_head: None },
            projector: Mlp { mlp: vec![None, Some(linear)] },
        }
    }

    fn untied(seed: f32, device: &Device) -> Self {
        let mut model = Self::new(seed, device);
        model.llm.lm_head = Some(Linear::without_bias(WIDTH, ROWS, device));
        model
    }

    fn save(&self, folder: &Path, options: SaveOptions) -> Result<Saved, ModelError> {
        let llm = SavedPart { names: LLM, module: &self.llm };
        let projector = SavedPart { names: PROJECTOR, module: &self.projector };
        save(folder, &[llm, projector], &StoredWeights::default(), options)
    }

    fn load(&mut self, folder: &Path) -> Result<Loaded, ModelError> {
        let llm = Part { names: LLM, module: &mut self.llm };
        let projector = Part { names: PROJECTOR, module: &mut self.projector };
        load(folder, &VIDEOCHAT_FLASH, None, &mut [llm, projector])
    }

    fn values(&self) -> Vec<f32> {
        let linear = self.projector.mlp[1].as_ref().unwrap();
        let table = vector(self.llm.model.embed_tokens.weight.val());
        let bias = vector(linear.bias.as_ref().unwrap().val());
        [table, vector(linear.weight.val()), bias].concat()
    }
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

const F32: SaveOptions = SaveOptions { dtype: WeightDtype::F32, max_file_bytes: None, merge: None };
const SHARDED: SaveOptions = SaveOptions { max_file_bytes: Some(40), ..F32 };

fn saved(options: SaveOptions) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    Model::new(1.0, &Device::flex()).save(folder.path(), options).unwrap();
    folder
}

/// Loads a damaged folder: the error, with the folder's name taken out.
fn error(folder: &TempDir) -> String {
    let mut model = Model::new(5.0, &Device::flex());
    let before = model.values();
    let error = model.load(folder.path()).unwrap_err().to_string();
    assert_eq!(model.values(), before, "a refused load changes nothing");
    error.replace(folder.path().to_str().unwrap(), "DIR")
}

/// Writes a file of f32 tensors, as another program would.
fn write(path: &Path, tensors: &[(&str, &[usize])]) {
    let longest = vec![0_u8; 4096];
    let views = tensors.iter().map(|(name, shape)| {
        let bytes = &longest[..4 * shape.iter().product::<usize>()];
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

const TABLE: (&str, &[usize]) = ("model.embed_tokens.weight", &[ROWS, WIDTH]);
const WEIGHT: (&str, &[usize]) = ("model.mm_projector.mlp.1.weight", &[2, WIDTH]);
const BIAS: (&str, &[usize]) = ("model.mm_projector.mlp.1.bias", &[2]);

fn single(tensors: &[(&str, &[usize])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(SINGLE_FILE), tensors);
    folder
}

#[test]
fn lists_parameters_by_checkpoint_name() {
    let model = Model::new(1.0, &Device::flex());
    let listed = parameters(PROJECTOR, &model.projector);
    let names: Vec<&str> = listed.iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, [WEIGHT.0, BIAS.0]);
    assert_eq!(listed[0].shape, [2, WIDTH]);
    assert_eq!(listed[0].count(), 2 * WIDTH);
    assert_eq!(listed[0].id, model.projector.mlp[1].as_ref().unwrap().weight.id);
}

#[test]
fn round_trips_each_dtype() {
    let check = |dtype, round: fn(f32) -> f32| {
        let folder = saved(SaveOptions { dtype, ..F32 });
        let mut model = Model::new(9.0, &Device::flex());
        let loaded = model.load(folder.path()).unwrap();
        let expect = Model::new(1.0, &Device::flex()).values();
        assert_eq!(model.values(), expect.into_iter().map(round).collect::<Vec<f32>>());
        assert_eq!((loaded.tensors, loaded.parameters), (3, ROWS * WIDTH + 2 * WIDTH + 2));
    };
    check(WeightDtype::F32, |value| value);
    check(WeightDtype::Bf16, |value| bf16::from_f32(value).to_f32());
    check(WeightDtype::F16, |value| f16::from_f32(value).to_f32());
}

#[test]
fn writes_what_transformers_reads() {
    let folder = saved(F32);
    let bytes = fs::read(folder.path().join(SINGLE_FILE)).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    assert_eq!(metadata.offset_keys(), [TABLE.0, BIAS.0, WEIGHT.0]);
    let again = saved(F32);
    assert_eq!(bytes, fs::read(again.path().join(SINGLE_FILE)).unwrap(), "the same bytes");
}

#[test]
fn shards_above_a_size_and_lists_them() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::new(1.0, &Device::flex());
    let saved = model.save(folder.path(), SHARDED).unwrap();
    let name = |file: &std::path::PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let files: Vec<String> = saved.files.iter().map(name).collect();
    assert_eq!(files, [shards[0], shards[1], INDEX_FILE]);

    let index = fs::read_to_string(folder.path().join(INDEX_FILE)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * (ROWS * WIDTH + 2 * WIDTH + 2));
    assert_eq!(index["weight_map"][TABLE.0], shards[0]);
    assert_eq!(index["weight_map"][WEIGHT.0], shards[1]);

    let mut read = Model::new(9.0, &Device::flex());
    assert_eq!(read.load(folder.path()).unwrap().files.len(), 2);
    assert_eq!(read.values(), model.values());
}

#[test]
fn a_second_save_replaces_the_first() {
    let folder = saved(SHARDED);
    fs::write(folder.path().join("config.json"), "{}").unwrap();
    let model = Model::new(2.0, &Device::flex());
    model.save(folder.path(), F32).unwrap();
    let mut read = Model::new(9.0, &Device::flex());
    read.load(folder.path()).unwrap();
    assert_eq!(read.values(), model.values());
    let mut left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["config.json", SINGLE_FILE]);
}

#[test]
fn a_value_that_overflows_is_not_written() {
    let folder = saved(F32);
    let before = fs::read(folder.path().join(SINGLE_FILE)).unwrap();
    let options = SaveOptions { dtype: WeightDtype::F16, ..F32 };
    let error = Model::new(1e5, &Device::flex()).save(folder.path(), options).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("tensor `model.embed_tokens.weight` is not finite as f16"));
    assert_eq!(before, fs::read(folder.path().join(SINGLE_FILE)).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
}

#[test]
fn loading_keeps_ids_and_training() {
    let device = Device::flex().autodiff();
    let mut model = Model::new(9.0, &device);
    let id = model.llm.model.embed_tokens.weight.id;
    model.projector = model.projector.freeze();
    model.load(saved(F32).path()).unwrap();

    let table = &model.llm.model.embed_tokens.weight;
    assert_eq!(table.id, id);
    assert!(table.val().is_require_grad());
    assert!(!model.projector.mlp[1].as_ref().unwrap().weight.val().is_require_grad());
}

#[test]
fn a_tied_head_may_be_there_twice_or_once() {
    let folder = single(&[TABLE, WEIGHT, BIAS, ("lm_head.weight", &[ROWS, WIDTH])]);
    let mut model = Model::new(5.0, &Device::flex());
    assert_eq!(model.load(folder.path()).unwrap().tensors, 3);
    assert!(model.values().iter().all(|value| *value == 0.0));

    let folder = single(&[TABLE, WEIGHT, BIAS, ("lm_head.weight", &[ROWS + 1, WIDTH])]);
    let shape = "tensor `lm_head.weight` in DIR/model.safetensors has shape [4, 4], \
                 expected [3, 4]";
    assert_eq!(error(&folder), shape);
}

#[test]
fn an_untied_head_must_be_there() {
    let device = Device::flex();
    let folder = single(&[TABLE, WEIGHT, BIAS]);
    let error = Model::untied(1.0, &device).load(folder.path()).unwrap_err();
    assert!(error.to_string().starts_with("tensor `lm_head.weight` of shape [3, 4] is missing"));

    let model = Model::untied(1.0, &device);
    model.save(folder.path(), F32).unwrap();
    let mut read = Model::untied(9.0, &device);
    read.load(folder.path()).unwrap();
    let head = |model: &Model| vector(model.llm.lm_head.as_ref().unwrap().weight.val());
    assert_eq!(head(&read), head(&model));
}

#[test]
fn names_missing_and_unused_tensors() {
    let missing = "tensor `model.mm_projector.mlp.1.bias` of shape [2] is missing in DIR \
                   (and 1 more)";
    assert_eq!(error(&single(&[TABLE])), missing);
    let unused = "tensor `condenser.weight` of shape [1] in DIR/model.safetensors \
                  belongs to no part of the model";
    assert_eq!(error(&single(&[TABLE, WEIGHT, BIAS, ("condenser.weight", &[1])])), unused);
}

#[test]
fn names_tensors_of_another_shape_or_dtype() {
    let shape = "tensor `model.mm_projector.mlp.1.weight` in DIR/model.safetensors \
                 has shape [4, 2], expected [2, 4]";
    assert_eq!(error(&single(&[TABLE, (WEIGHT.0, &[WIDTH, 2]), BIAS])), shape);

    let folder = saved(F32);
    let path = folder.path().join(SINGLE_FILE);
    edit(&path, |text| text.replacen("\"F32\"", "\"I32\"", 1));
    let dtype = "tensor `model.embed_tokens.weight` in DIR/model.safetensors has dtype I32, \
                 expected F32, F16 or BF16";
    assert_eq!(error(&folder), dtype);
}

/// Rewrites the header of a file; its length stays.
fn edit(path: &Path, edit: impl Fn(String) -> String) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = edit(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
    assert_eq!(header.len(), length);
    fs::write(path, [&bytes[..8], header.as_bytes(), &bytes[8 + length..]].concat()).unwrap();
}

#[test]
fn names_duplicated_tensors() {
    let folder = saved(SHARDED);
    let second = folder.path().join("model-00002-of-00002.safetensors");
    write(&second, &[WEIGHT, TABLE]);
    let twice = "tensor `model.embed_tokens.weight` is stored twice: \
                 in DIR/model-00001-of-00002.safetensors and in DIR/model-00002-of-00002.safetensors";
    assert_eq!(error(&folder), twice);

    let folder = single(&[("aa", &[1]), ("bb", &[1])]);
    edit(&folder.path().join(SINGLE_FILE), |text| text.replace("\"bb\"", "\"aa\""));
    let twice =
        "tensor `aa` is stored twice: in DIR/model.safetensors and in DIR/model.safetensors";
    assert_eq!(error(&folder), twice);
}

#[test]
fn names_damaged_files() {
    let folder = saved(F32);
    let path = folder.path().join(SINGLE_FILE);
    let whole = fs::read(&path).unwrap();
    for cut in [0, 5, 20, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        let message = error(&folder);
        let starts = "DIR/model.safetensors is truncated or damaged: it has ";
        assert!(message.starts_with(&format!("{starts}{cut} bytes")), "{message}");
    }
    fs::write(&path, [&[4, 0, 0, 0, 0, 0, 0, 0], b"nope".as_slice()].concat()).unwrap();
    assert!(error(&folder).starts_with("DIR/model.safetensors is not a safetensors file: "));
    fs::write(&path, [0xff; 64]).unwrap();
    assert!(error(&folder).contains("its header would have 18446744073709551615 bytes"));
}

#[test]
fn names_a_wrong_index() {
    let index = |folder: &TempDir| folder.path().join(INDEX_FILE);
    let check = |edit: &dyn Fn(String) -> String, expect: &str| {
        let folder = saved(SHARDED);
        let text = fs::read_to_string(index(&folder)).unwrap();
        fs::write(index(&folder), edit(text)).unwrap();
        let message = error(&folder);
        let expect = format!("DIR/model.safetensors.index.json is not a usable index: {expect}");
        assert!(message.starts_with(&expect), "{message}");
    };
    check(&|_| "{".into(), "EOF while parsing");
    let file = "there is no file `model-00003-of-00002.safetensors` next to it";
    check(&|text| text.replacen("00001-of", "00003-of", 1), file);
    check(&|text| text.replace("model-00001", "../model-00001"), "there is no file `../model");
    let place = "tensor `model.embed_tokens.weight` is not in model-00002-of-00002.safetensors";
    check(&|text| text.replacen("00001-of", "00002-of", 1), place);
    let unlisted = "it does not list tensor `model.mm_projector.mlp.1.bias`";
    check(&|text| remove_line(&text, BIAS.0), unlisted);
}

fn remove_line(text: &str, with: &str) -> String {
    text.lines().filter(|line| !line.contains(with)).collect::<Vec<_>>().join("\n")
}

#[test]
fn needs_exactly_one_layout() {
    let folder = tempfile::tempdir().unwrap();
    let absent = "DIR has neither model.safetensors nor model.safetensors.index.json";
    assert_eq!(error(&folder), absent);
    fs::write(folder.path().join(SINGLE_FILE), "").unwrap();
    fs::write(folder.path().join(INDEX_FILE), "").unwrap();
    let both = "DIR has both model.safetensors and model.safetensors.index.json, expected one";
    assert_eq!(error(&folder), both);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_finite_values_survive_any_layout(
        values in prop::collection::vec(-1e4_f32..1e4, ROWS * WIDTH),
        max_file_bytes in prop::option::of(1_u64..200),
        dtype in prop::sample::select(vec![WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16]),
    ) {
        let device = Device::flex();
        let mut model = Model::new(1.0, &device);
        let table = TensorData::new(values.clone(), [ROWS, WIDTH]);
        model.llm.model.embed_tokens.weight = Param::from_data(table, &device);
        let folder = tempfile::tempdir().unwrap();
        let saved = model.save(folder.path(), SaveOptions { dtype, max_file_bytes, merge: None }).unwrap();
        let mut read = Model::new(9.0, &device);
        let loaded = read.load(folder.path()).unwrap();
        prop_assert_eq!(loaded.files.len(), saved.files.len().max(2) - 1);
        let round = |value: f32| match dtype {
            WeightDtype::F32 => value,
            WeightDtype::Bf16 => bf16::from_f32(value).to_f32(),
            WeightDtype::F16 => f16::from_f32(value).to_f32(),
        };
        let expect: Vec<f32> = values.into_iter().map(round).collect();
        prop_assert_eq!(vector(read.llm.model.embed_tokens.weight.val()), expect);
    }
}
