//! Kinds `v_clip`, `v_anyres` and `v_e2e`: pictures and frames as Video-XL sees them, its tower, and the whole model to its gradients.

use std::collections::BTreeMap;

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use xcomp_data::Resize;
use xcomp_data::resize::{Canvas, Fit, Fitter, MOST_TILES, Picture, canvases};
use xcomp_model::base::video_xl::VIDEO_XL;
use xcomp_model::base::vision::Body;
use xcomp_model::compress::vst::Kind;
use xcomp_model::compress::vst::pass::{empty, remember, rope, run};
use xcomp_model::connector::Connector;
use xcomp_model::loss::LossNorm;
use xcomp_model::splice::Prompt;
use xcomp_model::vision::frame_vit::FrameVit;
use xcomp_model::vision::frames::normalise;
use xcomp_model::vlm::{Vlm, supervised};
use xcomp_model::windows::{Sequence, backward};
use xcomp_tests::{
    Case, Tolerance, WholeSequence, assert_close, assert_scalar, assert_video_xl_gradients, cases,
    gradients, host, load_case, load_model, model_gradients, video_xl, video_xl_plan,
    video_xl_prompt,
};

const TOWER: &str = "model.vision_tower.vision_tower.vision_model.";
const PROJECTOR: &str = "model.mm_projector.";

fn picture(case: &Case, name: &str) -> (usize, usize, Vec<u8>) {
    let tensor = case.tensor(name);
    let [height, width, _] = tensor.shape[..] else { panic!("case {}: {name}", case.name) };
    (width, height, tensor.u8().to_vec())
}

/// The list of canvases of a case, else all.
fn listed(case: &Case, tile: usize, most: usize) -> Vec<(usize, usize)> {
    let list = case.json.pointer("/config/image_grid_pinpoints").filter(|list| !list.is_null());
    list.map_or_else(
        || canvases(tile, most),
        |list| serde_json::from_value(list.clone()).expect("pairs"),
    )
}

/// Pins: 200 canvases, the choice among them, sizes and places, ties.
#[test]
fn v_anyres_table() {
    for case in cases("v_anyres_table") {
        let unit = case.count("/config/unit");
        let all = canvases(unit, MOST_TILES);
        assert_eq!(all.len(), case.count("/config/count"));
        for row in case.value("/expect/rows").as_array().expect("rows") {
            let row: Vec<usize> = serde_json::from_value(row.clone()).expect("counts");
            let Canvas { size, picture, at } = Canvas::of(row[0], row[1], &all);
            let (columns, rows) = (size.0 / unit, size.1 / unit);
            let got = [size.0, size.1, columns, rows, columns * rows];
            assert_eq!(got, row[2..7], "{row:?}");
            assert_eq!([picture.0, picture.1, at.0, at.1], row[7..11], "{row:?}");
        }
    }
}

/// Pins: the bytes of every tile.
#[test]
fn v_anyres_tiles() {
    for case in cases("v_anyres_tiles") {
        let unit = case.count("/config/unit");
        let words = case.value("/config/pinpoints").as_str().expect("a description");
        let most = words.split("a*b<=").nth(1).expect("the most tiles");
        let most: String = most.chars().take_while(char::is_ascii_digit).collect();
        let all = canvases(unit, most.parse().expect("a count"));
        let images = case.value("/expect/images").as_array().expect("images");
        for index in 0..images.len() {
            let (width, height, pixels) = picture(&case, &format!("img{index}.u8"));
            let canvas = Canvas::of(width, height, &all);
            let got = canvas.cut(Picture::packed(width, height, &pixels), unit, Resize::Exact);
            let want = case.tensor(&format!("img{index}.tiles_u8"));
            assert_eq!(got.len() / (3 * unit * unit), want.shape[0], "case {}", case.name);
            assert_eq!(got, want.u8(), "case {}, image {index}", case.name);
        }
    }
}

/// The pixels of a case, from its bytes, compared with those of the reference, whose first view of an image is not used.
fn pixels(case: &Case, device: &Device) -> Tensor<4> {
    let side = case.count("/config/clip/image_size");
    let (mut bytes, views) = (vec![], usize::from(case.has("image_u8")));
    if views == 1 {
        let (width, height, pixels) = picture(case, "image_u8");
        let canvas = Canvas::of(width, height, &listed(case, side, MOST_TILES));
        bytes = canvas.cut(Picture::packed(width, height, &pixels), side, Resize::Exact);
        if case.has("tiles_u8") {
            assert_eq!(bytes, case.tensor("tiles_u8").u8(), "case {}: tiles", case.name);
        }
    } else {
        let frames = case.tensor("frames_u8");
        let [_, height, width, _] = frames.shape[..] else { panic!("case {}", case.name) };
        let mut fitter = Fitter::new(side, Fit::Crop, Resize::Exact);
        for frame in frames.u8().chunks(3 * width * height) {
            fitter.fit_into(Picture::packed(width, height, frame), &mut bytes).expect("a frame");
        }
    }
    let count = bytes.len() / (3 * side * side);
    let got = normalise(&bytes, count, side, &VIDEO_XL.pixels, device);
    let all = case.burn::<4>("pixel_values", &Device::flex());
    let want = host(all.clone().slice_dim(0, views..all.dims()[0]));
    assert_close(case, "pixel_values", got.clone(), &want, Tolerance::TABLE);
    got
}

/// Pins: frames and tiles as pixels, all hidden states, the selected layer, class tokens, projection before pooling, every gradient.
#[test]
fn v_clip() {
    for case in cases("v_clip") {
        tower(&case);
    }
}

fn tower(case: &Case) {
    let device = Device::flex().autodiff();
    let config = video_xl(case);
    let Body::Frames(body) = config.vision.body else { panic!("a tower over frames") };
    let tower = FrameVit::new(&config.vision, body, &device);
    let tower = load_case(tower, case, &format!("w.{TOWER}"));
    let close = |what: &str, got: Tensor<3>| {
        if case.has(what) {
            let tolerance = case.tolerance("forward", Tolerance::FORWARD);
            assert_close(case, what, got, case.tensor(what), tolerance);
        }
    };
    let ours = pixels(case, &device);
    // All views, that which is thrown away too: its hidden states are told.
    let pixels = case.burn::<4>("pixel_values", &device).require_grad();
    let used = pixels.dims()[0] - ours.dims()[0]..pixels.dims()[0];

    let mut x = tower.embed(pixels.clone().unsqueeze_dim(1));
    let class = |x: &Tensor<3>| x.clone().slice_dim(1, 0..1).flatten::<2>(0, 1);
    for index in 0..=tower.encoder.layers.len() {
        close(&format!("hidden.{index}"), x.clone());
        let name = format!("cls_hidden.{index}");
        if case.has(&name) {
            assert_close(case, &name, class(&x), case.tensor(&name), Tolerance::FORWARD);
        }
        if let Some(block) = tower.encoder.layers.get(index) {
            x = block.forward(x);
        }
    }
    let (features, classes) = tower.forward_with_class(pixels.clone().unsqueeze_dim(1));
    let classes = classes.expect("a class token");
    if case.has("cls") {
        let all = Tensor::cat(vec![classes.clone(), features.clone()], 1);
        close("selected", all);
        let rows = classes.flatten::<2>(0, 1);
        assert_close(case, "cls", rows, case.tensor("cls"), Tolerance::FORWARD);
        return;
    }
    close("selected", features.clone());
    let mut connector = Connector::new(&config.connector, &device);
    connector.mlp = load_case(connector.mlp, case, &format!("w.{PROJECTOR}"));
    close("projected", connector.project(features.clone()));
    let tokens = connector.visual(features.slice_dim(0, used));
    assert_eq!(config.tokens_per_frame(), case.count("/expect/tokens_per_view"));
    assert_close(case, "tokens", tokens.clone(), case.tensor("tokens"), Tolerance::FORWARD);

    let mut tape = (tokens * case.burn::<2>("cotangent", &device)).sum().backward();
    let of_pixels = host(pixels.grad_remove(&mut tape).expect("a gradient of the pixels"));
    let both = (tower, connector.mlp);
    let grads = GradientsParams::from_grads(tape, &both);
    let of_parts = [(TOWER, gradients(&both.0, &grads)), (PROJECTOR, gradients(&both.1, &grads))];
    let mut found = BTreeMap::from([("pixel_values".to_owned(), of_pixels)]);
    for (prefix, part) in of_parts {
        found.extend(part.into_iter().map(|(name, grad)| (format!("{prefix}{name}"), grad)));
    }
    assert_video_xl_gradients(case, &found);
}

/// Pins: pixels to loss through the whole model, everything trainable, on one tape and window by window.
#[test]
fn v_e2e() {
    for case in cases("v_e2e") {
        whole(&case);
    }
}

fn whole(case: &Case) {
    let device = Device::flex().autodiff();
    let vlm = load_model(Vlm::new(&video_xl(case), &device), case);
    let (prompt, pixels) = (video_xl_prompt(case), pixels(case, &device.clone().inner()));
    let plan = video_xl_plan(case, &prompt, 0);
    let prompts = [prompt];
    // A tape is consumed by its backward: every one starts at the pixels.
    let encoded = || {
        let pixels = Tensor::from_inner(pixels.clone()).unsqueeze_dim(1);
        vec![vec![vlm.connector.fixed(vlm.vision.forward(pixels))]]
    };
    let visual = vlm.connector.visual(encoded()[0][0].clone());
    assert_close(case, "visual", visual, case.tensor("visual"), Tolerance::FORWARD);
    logits(case, &vlm, &prompts[0], encoded());

    let plans = [plan];
    let (loss, weight) = vlm.loss_in_windows(&prompts, encoded(), &plans, LossNorm::Sample);
    assert_eq!(weight, 1);
    check_loss(case, &loss);
    let grads = GradientsParams::from_grads(loss.backward(), &vlm);
    assert_video_xl_gradients(case, &model_gradients(&vlm, &grads));

    let (x, layout) = vlm.embed(&prompts, encoded());
    let rows = supervised(&prompts, &layout);
    let named = |tape| model_gradients(&vlm, &GradientsParams::from_grads(tape, &vlm));
    let mut whole = WholeSequence::new(x.clone().inner(), named);
    let loss = backward(&vlm.llm, &plans[0], &rows, 1.0 / rows.len() as f64, &mut whole);
    check_loss(case, &loss);
    let tape = (x * Tensor::from_inner(whole.below.clone())).sum().backward();
    whole.collect(tape);
    assert_video_xl_gradients(case, &whole.found);
}

fn check_loss(case: &Case, loss: &Tensor<1>) {
    let got = f64::from(loss.clone().into_scalar::<f32>());
    let tolerance = case.tolerance("loss", Tolerance::LOSS);
    assert_scalar(case, "loss", got, case.number("/expect/loss"), tolerance);
}

fn logits(case: &Case, vlm: &Vlm, prompt: &Prompt, encoded: Vec<Vec<Tensor<3>>>) {
    let (x, _) = vlm.embed(std::slice::from_ref(prompt), encoded);
    let (plan, llm) = (video_xl_plan(case, prompt, 0), &vlm.llm);
    let (rope, mut memory) = (rope(&llm.model, &plan, 0, &x), empty(&llm.model));
    let mut seen = 0;
    for (index, segment) in plan.segments.iter().enumerate() {
        let rows = x.clone().slice_dim(1, segment.rows.clone());
        let (hidden, kept) = run(&llm.model, rows, segment, &rope, &memory);
        remember(&mut memory, kept);
        if !matches!(segment.kind, Kind::Window { .. }) {
            let name = format!("win{index}.logits");
            let got = llm.logits(llm.model.norm.forward(hidden).flatten(0, 1));
            assert_close(case, &name, got, case.tensor(&name), Tolerance::FORWARD);
            seen += 1;
        }
    }
    assert!(seen > 0, "case {}: no logits", case.name);
}
