"""Captions in free words, by a vision language model: one on this machine, or one behind an HTTP endpoint.

    pixels -> prompt with a word limit -> Qwen2.5-VL, or POST .../v1/chat/completions -> trimmed text

What an endpoint answers is other people's text: it is read up to a limit of bytes and of time, and only
its printable characters are used. The key goes to the endpoint alone, never into a message or a redirect.
"""

import base64
import json
import os
import threading
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from PIL import Image

from link import png
from link.bitstream.text import MAX_BYTES
from link.errors import ModelMissingError, UsageError
from link.models import pull_hint
from link.pretrained import BROKEN, first_line, load_settings, load_weights
from link.threads import one_thread
from sender.captioner import Pixels

KEY_VARIABLE = "FARLINK_CAPTION_API_KEY"
"""The environment variable that holds the endpoint's key."""
ANSWER_BYTES = 64 * 1024
"""The longest answer of an endpoint that is read."""

_KIND = "qwen2_5_vl"
_PATH = "/chat/completions"
_SHARE = 0.8  # what pictures and their attention take is left free
_TOKENS_PER_WORD = 3  # names and rare words take several; the word limit cuts what is too much


def prompt(words: int) -> str:
    """Return what a model is asked."""
    return (
        f"Describe this picture in one sentence of at most {words} words: the scene, its main objects with "
        "their colours, sizes and places, and the light. Begin with the scene itself."
    )


def trim(text: str, words: int) -> str:
    """Return *text* as one line of printable characters, at most *words* words and 1 KiB of UTF-8."""
    spaced = "".join(character if character.isprintable() else " " for character in text)
    kept = spaced.split()[:words]
    line = " ".join(kept).encode(errors="ignore")[:MAX_BYTES].decode(errors="ignore")
    return line.rstrip(" ,;:-")


class QwenCaptioner:
    """Captions by Qwen2.5-VL from *name*: a folder in `save_pretrained` layout, or a pulled model's id.

    Greedy decoding: one picture has one caption. On `cuda` a model that is larger than one GPU is spread over all
    of them and main memory (`device_map`). Raise ModelMissingError where the model or one of its weights is not on
    this machine, UsageError where it is another kind of model.
    """

    def __init__(self, name: str, words: int, device: str = "cpu", revision: str | None = None) -> None:
        import transformers

        # not all of it is typed
        models: Any = transformers.Qwen2_5_VLForConditionalGeneration
        logging: Any = transformers.utils.logging
        logging.disable_progress_bar()
        local = {"revision": revision}
        try:
            kind = load_settings(transformers.AutoConfig, name, **local).model_type
            if kind != _KIND:
                raise ValueError(f"it is of the kind {kind}")
            self._processor = load_settings(transformers.AutoProcessor, name, **local)
            where = device_map(device, _weights_bytes(Path(name)), _memory_bytes(device))
            self._model = load_weights(models, name, dtype="auto", device_map=where, **local)
        except ModelMissingError:
            raise
        except OSError as error:
            hint = pull_hint(Path(name)) or "; `farlink models pull` fetches models"
            what = first_line(error) if Path(name).is_dir() else "no such caption model on this machine"
            raise ModelMissingError(f"{name}: {what}{hint}") from None
        except BROKEN as error:
            raise UsageError(f"{name}: cannot be read as a Qwen2.5-VL model: {first_line(error)}") from None
        self._words = words

    def caption(self, pixels: Pixels) -> str:
        """Return what the model says of *pixels*."""
        return trim(self.ask(pixels, prompt(self._words), self._words), self._words)

    @one_thread()
    def ask(self, pixels: Pixels, question: str, words: int) -> str:
        """Return the model's answer to *question* about *pixels*, of about *words* words, as it is."""
        import torch

        content = [
            {"type": "image", "image": Image.fromarray(pixels)},
            {"type": "text", "text": question},
        ]
        given = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device)
        with torch.inference_mode():
            said = self._model.generate(
                **given, max_new_tokens=_TOKENS_PER_WORD * words, do_sample=False, num_beams=1
            )
        new = said[0, given["input_ids"].shape[1] :]
        answer: str = self._processor.tokenizer.decode(new, skip_special_tokens=True)
        return answer


def device_map(device: str, weights_bytes: int, memory_bytes: int) -> str | dict[str, str]:
    """Return where the layers of a model of *weights_bytes* go, as `from_pretrained` takes it.

    All to *device*; but to `auto` (every GPU, then main memory) where *device* is `cuda`, and they would fill more
    than `_SHARE` of its *memory_bytes*.
    """
    return "auto" if device == "cuda" and weights_bytes > _SHARE * memory_bytes else {"": device}


def _weights_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _memory_bytes(device: str) -> int:
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory) if device.startswith("cuda") else 0


class EndpointCaptioner:
    """Captions by any server that speaks OpenAI's chat completions (vLLM, Ollama, llama.cpp, hosted ones).

    *url* is its base, as `http://127.0.0.1:8000/v1`, or the whole address. The key, if any, is *api_key* or
    the environment's FARLINK_CAPTION_API_KEY. Raise UsageError for an address or a key that cannot be.
    """

    def __init__(
        self, url: str, model: str, words: int, timeout_s: float = 60.0, api_key: str | None = None
    ) -> None:
        self._url = endpoint(url)
        self._shown = self._url.partition("?")[0]
        self._model, self._words, self._timeout_s = model, words, timeout_s
        key = os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(f"{KEY_VARIABLE}: a key has only printable ASCII characters and no spaces")
        self._headers = {"Content-Type": "application/json", "User-Agent": "farlink"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def caption(self, pixels: Pixels) -> str:
        """Return what the server says of *pixels*.

        Raise UsageError for an answer that is no caption or a refusal, OSError where none comes in time.
        """
        caption = trim(self.ask(pixels, prompt(self._words), self._words), self._words)
        if not caption:
            raise UsageError(f"{self._shown}: the answer holds no caption")
        return caption

    def ask(self, pixels: Pixels, question: str, words: int) -> str:
        """Return the server's answer to *question* about *pixels*, of about *words* words, as it is.

        Raise UsageError for an answer that is no text or a refusal, OSError where none comes in time.
        """
        picture = base64.b64encode(png.encode(pixels)).decode()
        content = [
            {"type": "text", "text": question},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
        asked = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": _TOKENS_PER_WORD * words,
            "temperature": 0,
        }
        request = Request(self._url, json.dumps(asked).encode(), self._headers, method="POST")
        return self._text(run_within(self._timeout_s, lambda: self._post(request), self._shown))

    def _post(self, request: Request) -> bytes:
        try:
            with build_opener(_NoRedirects).open(request, timeout=self._timeout_s) as response:
                answer: bytes = response.read(ANSWER_BYTES + 1)
        except HTTPError as error:
            with error:
                why = trim(error.read(300).decode(errors="replace"), 40)
            raise UsageError(
                f"{self._shown}: HTTP {error.code} {_line(error.reason)} {why}".rstrip()
            ) from None
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise OSError(f"{self._shown}: {_line(reason) or type(error).__name__}") from None
        if len(answer) > ANSWER_BYTES:
            raise UsageError(f"{self._shown}: the answer is longer than {ANSWER_BYTES} bytes")
        return answer

    def _text(self, answer: bytes) -> str:
        try:
            text = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise UsageError(f"{self._shown}: the answer is no chat completion") from None
        if not isinstance(text, str):
            raise UsageError(f"{self._shown}: the answer holds no caption")
        return text


def endpoint(url: str) -> str:
    """Return the whole address of the chat completions at *url*. Raise UsageError if it cannot be one."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError("the caption endpoint is no URL: expected as http://127.0.0.1:8000/v1") from None
    # the URL is not repeated where it may hold a password
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"the caption endpoint's URL holds a user name: put the key into {KEY_VARIABLE}")
    good = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not host or port == 0 or not good:
        raise UsageError(f"{_line(url)[:80]!r}: expected an http or https URL, as http://127.0.0.1:8000/v1")
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith(_PATH) else path + _PATH, fragment="").geturl()


def run_within(timeout_s: float, work: Callable[[], bytes], name: str) -> bytes:
    """Return what *work* returns, or raise what it raises; OSError naming *name* after *timeout_s* seconds.

    A socket's own timeout starts again with every byte: a server that drips them would hold us for hours.
    """
    done: list[bytes] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failed:
        raise failed[0]
    if not done:
        raise OSError(f"{name}: no answer in {timeout_s:g} s")
    return done[0]


class _NoRedirects(HTTPRedirectHandler):
    """Takes a redirect for an error: it would carry picture and key to another place."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def _line(text: object) -> str:
    """Return *text* as one line without what could move a terminal's cursor."""
    return trim(str(text), 40)
