//! Single operations on the device of `XCOMP_TEST_DEVICE` beside the processor: where a whole model differs, this says which of them does.

use burn::tensor::{Device, Int, Tensor, TensorData};
use xcomp_tests::{chosen_device, drawn};
use xcomp_train::machine::device::Choice;

/// Values and gradients of an operation on two matrices.
type Op = fn(Tensor<2>, Tensor<2>) -> Tensor<2>;

fn ids(x: &Tensor<2>, ids: &[i32]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(ids.to_vec(), [ids.len()]), &x.device().inner())
}

/// Name, shapes of both inputs, the operation.
const OPS: [(&str, [[usize; 2]; 2], Op); 9] = [
    ("product", [[22, 32], [120, 32]], |x, w| x.matmul(w.transpose())),
    ("product, wide", [[98, 32], [64, 32]], |x, w| x.matmul(w.transpose())),
    ("rows", [[5, 32], [120, 32]], |x, w| {
        let rows = w.clone().select(0, ids(&w, &[3, 6, 119, 3, 7])) * 2.0;
        rows + x
    }),
    ("rows twice", [[22, 32], [120, 32]], |x, w| {
        let many: Vec<i32> = (0..22).map(|at| (at * 7) % 11).collect();
        w.clone().select(0, ids(&w, &many)) * x
    }),
    ("tied", [[22, 32], [120, 32]], |x, w| {
        let many: Vec<i32> = (0..22).map(|at| (at * 7) % 11).collect();
        (w.clone().select(0, ids(&w, &many)) * x).matmul(w.transpose())
    }),
    ("chosen rows of a product", [[22, 32], [120, 32]], |x, w| {
        x.clone().select(0, ids(&x, &[1, 5, 9, 20])).matmul(w.transpose())
    }),
    ("picked", [[22, 32], [120, 32]], |x, w| {
        let logits = x.matmul(w.transpose());
        let many: Vec<i32> = (0..22).map(|at| (at * 7) % 11).collect();
        let at = ids(&logits, &many).reshape([22, 1]);
        burn::tensor::activation::log_softmax(logits, 1).gather(1, at)
    }),
    ("normed", [[22, 32], [22, 32]], |x, w| {
        let mean = x.clone().powi_scalar(2).mean_dim(1);
        x * (mean + 1e-6).sqrt().recip() * w
    }),
    ("halves", [[22, 32], [22, 32]], |x, w| {
        let turned =
            Tensor::cat(vec![-x.clone().slice_dim(1, 16..32), x.clone().slice_dim(1, 0..16)], 1);
        x * w.clone() + turned * w
    }),
];

#[test]
fn every_operation_is_that_of_the_processor() {
    let (choice, device) = chosen_device();
    if choice == Choice::Cpu {
        println!("SKIPPED: single operations need XCOMP_TEST_DEVICE to name another device");
        return;
    }
    let mut wrong = vec![];
    for (name, shapes, op) in OPS {
        let [first, second] = shapes;
        let data = [(1, first), (2, second)]
            .map(|(seed, shape)| drawn::<2>(seed, shape, &Device::flex()).into_data());
        let [want, got] = [&Device::flex(), &device].map(|device| run(&data, device, op));
        for (what, got, want) in [("values", 0), ("of the first", 1), ("of the second", 2)]
            .map(|(what, at)| (what, &got[at], &want[at]))
        {
            let largest = want.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let off = got.iter().zip(want).map(|(got, want)| (got - want).abs());
            // What is not a number is wrong too.
            let wrongly = |off: f32| off.is_nan() || off > 2e-5 * largest;
            let first = off.clone().position(wrongly);
            let count = off.filter(|off| wrongly(*off)).count();
            if let Some(first) = first {
                let (got, want) = (got[first], want[first]);
                wrong.push(format!("{name}, {what}: {count}, first at {first}: {got}, not {want}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{choice}:\n{}", wrong.join("\n"));
}

fn run(data: &[TensorData; 2], device: &Device, op: Op) -> [Vec<f32>; 3] {
    let device = device.clone().autodiff();
    let [x, w] = data.each_ref().map(|data| Tensor::<2>::from_data(data.clone(), &device));
    let (x, w) = (x.require_grad(), w.require_grad());
    let out = op(x.clone(), w.clone());
    let mut grads = (out.clone() * out.clone()).sum().backward();
    let numbers = |x: Tensor<2>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
    let of_x = numbers(x.grad_remove(&mut grads).unwrap());
    let of_w = numbers(w.grad_remove(&mut grads).unwrap());
    [numbers(out.inner()), of_x, of_w]
}
