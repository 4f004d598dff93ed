"""Loads what xcomp exported with code that is not ours.

check.py transformers FOLDER OURS.json   logits within 1e-4 and equal greedy tokens
check.py tokens FOLDER OURS.json         equal greedy tokens of a real model
check.py video FOLDER OURS.json          the same logits of a question about a video, from the same pixels and ids
check.py peft FOLDER OURS.json           PEFT's logits of the base with our adapter, and the weights that it merges
check.py windows FOLDER OURS.json        a Video-XL without its learned tokens is a plain Qwen2: the same logits behind the same visual tokens
check.py safetensors FOLDER              every tensor, with the released names and shapes
"""
import json
import sys
from pathlib import Path

TOLERANCE = 1e-4


def with_transformers(folder, ours, tolerance=TOLERANCE):
    import torch
    from transformers import AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    ours = json.loads(Path(ours).read_text())
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    assert type(model).__name__ == "Qwen2ForCausalLM", type(model)
    prompt = torch.tensor([ours["prompt"]])
    count = len(ours["tokens"])
    assert count > 0
    with torch.no_grad():
        made = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, num_beams=1,
                              repetition_penalty=1.0, max_new_tokens=count)[0, prompt.shape[1]:].tolist()
        assert made == ours["tokens"], f"transformers continues {made}, xcomp {ours['tokens']}"
        whole = torch.tensor([ours["prompt"] + ours["tokens"]])
        theirs = model(whole).logits[0, prompt.shape[1] - 1:-1]
    off = (theirs - torch.tensor(ours["scores"])).abs().max().item()
    assert off <= tolerance, f"logits differ by {off}"
    print(f"transformers: {count} greedy tokens equal, logits within {off:.1e}")


def tokens_with_transformers(folder, ours):
    """A large model: equal greedy tokens; logits of thirty layers may differ more."""
    with_transformers(folder, ours, tolerance=1e-2)


def video_with_transformers(folder, ours):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    ours = json.loads(Path(ours).read_text())
    model, loading = transformers.LlavaNextVideoForConditionalGeneration.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"], loading
    pixels = torch.tensor(ours["pixels"]).reshape(1, *ours["shape"])
    count = ours["tokens_per_frame"] * ours["shape"][0]
    ids = [token for id in ours["ids"] for token in ([model.config.video_token_index] * count if id < 0 else [id])]
    ids = torch.tensor([ids])
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values_videos=pixels).logits[0]
    want = torch.tensor(ours["scores"])
    assert len(want) > 5 and (want - want[0]).abs().max() > 1e-2, "the scores say nothing"
    off = (logits[-len(want):] - want).abs().max().item()
    assert off <= TOLERANCE, f"logits differ by {off}"
    print(f"transformers {transformers.__version__}: {len(want)} rows of logits of a video within {off:.1e}")


def adapter_with_peft(folder, ours):
    import peft
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    folder, ours = Path(folder), json.loads(Path(ours).read_text())
    base = AutoModelForCausalLM.from_pretrained(folder / "plain", torch_dtype=torch.float32).eval()
    count, ids = len(ours["tokens"]), torch.tensor([ours["prompt"] + ours["tokens"]])
    rows = slice(len(ours["prompt"]) - 1, -1)
    want = torch.tensor(ours["scores"])
    with torch.no_grad():
        bare = base(ids).logits[0, rows]
        model = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
        apart = model(ids).logits[0, rows]
        merged = model.merge_and_unload().state_dict()
    assert (bare - want).abs().max() > 1e-2, "the adapter does nothing"
    off = (apart - want).abs().max().item()
    assert off <= TOLERANCE, f"logits differ by {off}"
    weights, apart = load_file(folder / "merged" / "model.safetensors"), 0.0
    for name, weight in weights.items():
        apart = max(apart, (merged[name] - weight).abs().max().item())
    assert apart <= 1e-6, f"merged weights differ by {apart}"
    print(f"peft {peft.__version__}: {count} rows of logits within {off:.1e}, {len(weights)} merged tensors within {apart:.1e}")


def windows_with_transformers(folder, ours):
    import torch
    from transformers import AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    ours = json.loads(Path(ours).read_text())
    model, loading = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, output_loading_info=True)
    assert type(model).__name__ == "Qwen2ForCausalLM" and not loading["missing_keys"] and not loading["unexpected_keys"], loading
    visual = torch.tensor(ours["visual"])
    at = next(at for at, id in enumerate(ours["ids"]) if id < 0)
    words = lambda ids: model.get_input_embeddings()(torch.tensor(ids))
    with torch.no_grad():
        embeds = torch.cat([words(ours["ids"][:at]), visual, words(ours["ids"][at + 1:])])[None]
        logits = model.eval()(inputs_embeds=embeds).logits[0]
    want = torch.tensor(ours["scores"])
    assert len(visual) > 100 and len(want) > 5 and (want - want[0]).abs().max() > 1e-2, "the scores say nothing"
    off = (logits[-len(want):] - want).abs().max().item()
    assert off <= TOLERANCE, f"logits differ by {off}"
    print(f"transformers: {len(want)} rows of logits behind {len(visual)} visual tokens in raw windows within {off:.1e}")


def released(config):
    """Names and shapes of the released checkpoint for these sizes; a head tied to the embeddings is not stored."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    names = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden]}
    if not config["tie_word_embeddings"]:
        names["lm_head.weight"] = [vocab, hidden]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", kv), ("v", kv)):
            names[f"{at}self_attn.{name}_proj.weight"] = [rows, hidden]
            names[f"{at}self_attn.{name}_proj.bias"] = [rows]
        names[f"{at}self_attn.o_proj.weight"] = [hidden, hidden]
        names[f"{at}mlp.gate_proj.weight"] = names[f"{at}mlp.up_proj.weight"] = [inner, hidden]
        names[f"{at}mlp.down_proj.weight"] = [hidden, inner]
        names[f"{at}input_layernorm.weight"] = names[f"{at}post_attention_layernorm.weight"] = [hidden]
    if "mm_hidden_size" not in config:
        return names

    seen, tower = config["mm_hidden_size"], config["vision_config"]
    at = "model.mm_projector.mlp."
    names |= {at + "0.weight": [hidden, seen], at + "0.bias": [hidden], at + "2.weight": [hidden, hidden], at + "2.bias": [hidden]}
    at, patch, inner = "model.vision_tower.vision_tower.encoder.", tower["patch_size"], tower["intermediate_size"]
    names |= {at + "patch_embed.proj.weight": [seen, 3, 1, patch, patch], at + "patch_embed.proj.bias": [seen]}
    names |= {at + "vision_layernorm.weight": [seen], at + "vision_layernorm.bias": [seen]}
    for block in range(tower["num_hidden_layers"] + config["mm_vision_select_layer"] + 1):
        here = f"{at}blocks.{block}."
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.q_bias", "attn.v_bias", "attn.proj.bias", "mlp.fc2.bias"):
            names[here + name] = [seen]
        names |= {here + "attn.qkv.weight": [3 * seen, seen], here + "attn.proj.weight": [seen, seen]}
        names |= {here + "mlp.fc1.weight": [inner, seen], here + "mlp.fc1.bias": [inner], here + "mlp.fc2.weight": [seen, inner]}
    return names


def with_safetensors(folder):
    from safetensors import safe_open

    folder = Path(folder)
    expect = released(json.loads((folder / "config.json").read_text()))
    got = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            for name in tensors.keys():
                tensor = tensors.get_tensor(name)
                assert (tensor == tensor).all(), f"{name} holds a value that is not a number"
                got[name] = list(tensor.shape)
    for name in sorted(expect.keys() | got.keys()):
        assert expect.get(name) == got.get(name), f"{name}: {got.get(name)} in the files, {expect.get(name)} released"
    print(f"safetensors: {len(got)} tensors with the released names and shapes in {folder.name}")


if __name__ == "__main__":
    {"transformers": with_transformers, "tokens": tokens_with_transformers, "video": video_with_transformers, "peft": adapter_with_peft, "windows": windows_with_transformers, "safetensors": with_safetensors}[sys.argv[1]](*sys.argv[2:])
