"""What vLLM's server does with the few requests that we send it, by a model in transformers.

Strict where vLLM is lenient: an option or a field that is not known here ends it or is a 400, so a
slip of the pen in ours shows. Facts of the contract: vLLM's OpenAI-compatible server, 0.11 to 0.12.
"""

import argparse
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIELDS = {
    "model", "prompt", "max_tokens", "stream", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "seed", "ignore_eos",
    "stop_token_ids", "skip_special_tokens", "return_token_ids", "logit_bias", "logprobs",
    "return_tokens_as_token_ids", "structured_outputs",
}  # fmt: skip
OPEN = threading.BoundedSemaphore(64)


def arguments():
    """The options that we give."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("model", "served-model-name", "host", "dtype", "generation-config"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "max-model-len", "max-logprobs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--gpu-memory-utilization", type=float, required=True)
    parser.add_argument("--structured-outputs-config", type=json.loads, required=True)
    for name in ("enforce-eager", "trust-remote-code", "enable-lora"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--max-lora-rank", type=int, choices=(8, 16, 32, 64, 128, 256, 320, 512))
    parser.add_argument("--max-loras", type=int)
    parser.add_argument("--lora-modules", nargs="*", default=[])
    parser.add_argument("--seed", type=int)
    return parser.parse_args()


def loaded(said):
    """Models by the names that are served."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    base = AutoModelForCausalLM.from_pretrained(said.model, dtype=torch.float32).eval()
    found = {said.served_model_name: base}
    for one in said.lora_modules:
        name, _, path = one.partition("=")
        own = AutoModelForCausalLM.from_pretrained(said.model, dtype=torch.float32)
        found[name] = PeftModel.from_pretrained(own, path).eval()
    return found


def drawn(model, body):
    """Token after token with its log-probability, and those of the best."""
    import torch

    ids = list(body["prompt"])
    for _ in range(body["max_tokens"]):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].float()
        scores = logits.log_softmax(0)
        for token, bias in (body.get("logit_bias") or {}).items():
            logits[int(token)] += bias
        chosen = int(logits.argmax())
        ids.append(chosen)
        best = scores.topk(body.get("logprobs") or 0)
        top = dict(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        yield chosen, float(scores[chosen]), {**top, chosen: float(scores[chosen])}
        if chosen in body["stop_token_ids"]:
            return


class Handler(BaseHTTPRequestHandler):
    """The two routes that we use, and one that tells how many answers are under way."""

    models, going = {}, set()
    protocol_version = "HTTP/1.1"

    def log_message(self, *said):
        """Nothing."""

    def do_GET(self):
        """Health, and answers under way."""
        if self.path == "/health":
            return self.say(200, {})
        return self.say(200, {"going": len(self.going)})

    def do_POST(self):
        """Completions."""
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length))
        if self.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self.say(401, {"error": {"message": "no key"}})
        if set(body) - FIELDS or self.path != "/v1/completions":
            return self.say(400, {"error": {"message": f"unknown {set(body) - FIELDS}"}})
        if body["model"] not in self.models:
            return self.say(404, {"error": {"message": f"no model {body['model']}"}})
        if not all(isinstance(number, int) for number in body["prompt"]):
            return self.say(400, {"error": {"message": "ids"}})
        if 7 in body["prompt"][-1:] and os.environ.get("STANDIN_DIES"):
            print("CUDA error: out of everything", file=sys.stderr, flush=True)
            os._exit(3)
        return self.stream(body)

    def say(self, status, said):
        """A whole answer."""
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, body):
        """An answer, token by token."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.going.add(self)
        try:
            for number, score, top in drawn(self.models[body["model"]], body):
                choice = {"index": 0, "text": "", "token_ids": [number], "finish_reason": None}
                if "logprobs" in body:
                    named = {f"token_id:{i}": value for i, value in top.items()}
                    choice["logprobs"] = {
                        "tokens": [f"token_id:{number}"], "token_logprobs": [score],
                        "top_logprobs": [named],
                    }  # fmt: skip
                self.event({"choices": [choice]})
                time.sleep(float(os.environ.get("STANDIN_PAUSE", 0)))
            last = "stop" if number in body["stop_token_ids"] else "length"
            self.event({"choices": [{"index": 0, "text": "", "finish_reason": last}]})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass  # whoever asked has gone
        finally:
            self.going.discard(self)
            self.close_connection = True

    def event(self, said):
        """One server-sent event."""
        self.wfile.write(f"data: {json.dumps(said)}\n\n".encode())
        self.wfile.flush()


if __name__ == "__main__":
    said = arguments()
    time.sleep(float(os.environ.get("STANDIN_SLOW", 0)))
    if os.environ.get("STANDIN_FAILS"):
        print("ValueError: no GPU in sight", file=sys.stderr)
        sys.exit(5)
    Handler.models = loaded(said)
    ThreadingHTTPServer((said.host, said.port), Handler).serve_forever()
