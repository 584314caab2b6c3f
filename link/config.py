"""The part of a scenario that processes need: camera, codec, link. Frozen; unknown keys are refused.

Numbers carry their unit in the name. `None` means "derived", and `scenarios.schema.resolve` fills it in,
so a process never meets a None that it has to interpret.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from link.fields import Bytes, Model, PositiveSeconds, Text, is_none, is_plain
from link.frame import MAX_PIXELS
from link.hops import Link
from link.marks import Affects, Steers
from link.packet import FRAMES

LEAST_SIDE, MOST_SIDE = 16, 8192
"""Of a frame, in pixels."""


ModelPlace = Annotated[Text | None, Affects.PLACE]
_ENDS = Steers.SENDER | Steers.RECEIVER
_BOTH_ENDS = Affects.ENCODING | Affects.DECODING | Affects.SYNTAX
_SIZE = Affects.FRAMES | Affects.DECODING | Affects.SYNTAX
Task = Literal["segmentation", "depth", "detection"]
TASKS: tuple[Task, ...] = ("segmentation", "depth", "detection")
"""What analysis models find in a picture, in the order in which they are run."""


class Camera(Model):
    """Where frames come from and how often."""

    source: Annotated[Text, Affects.FRAMES] = "testcard"
    """`testcard`, `world:THEME`, `webcam:N`, `journal:RUN`, a picture, a folder, a video, a data set, ..."""
    width: Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE), _SIZE] = 256
    height: Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE), _SIZE] = 192
    fit: Annotated[Literal["crop", "pad", "stretch"], Affects.FRAMES] = "crop"
    """How another aspect ratio becomes the scenario's: cut the edges, add bars, or distort."""
    period_s: Annotated[PositiveSeconds | None, Affects.FRAMES, Steers.SENDER] = None
    """Time between frames; None keeps a video's own time stamps (1 s for other sources)."""
    frames: Annotated[Annotated[int, Field(gt=0, le=10**9)] | None, Affects.FRAMES] = None
    """How many frames at most; None: all that the source has."""

    @model_validator(mode="after")
    def _not_too_large(self) -> "Camera":
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"width x height: {self.width}x{self.height} is over {MAX_PIXELS} pixels")
        return self


class Codec(Model):
    """How a frame becomes sections. Each codec says which fields it reads; the others mean nothing to it."""

    name: Annotated[str, _BOTH_ENDS] = "gsc"
    frame_bytes: Annotated[
        Annotated[int, Field(gt=0, le=1 << 26)] | None, Affects.ENCODING, Steers.SENDER
    ] = None
    """Payload budget of a frame; None: 80 % of what the narrowest hop carries in a period, and no limit where
    `rate_control` says what is sent."""
    rate_control: Annotated[Literal["bytes", "fixed", "task"], Affects.ENCODING, Steers.SENDER] = "bytes"
    """What `gsc` sends: what `frame_bytes` allows of `channels` and `caption_words`; exactly these, whatever they
    cost; or what the task needs of the link at hand, these at most. Classical codecs always keep to the bytes."""
    unfit: Annotated[Literal["stop", "skip"], Affects.ENCODING] = "stop"
    """What to do with a frame that the codec cannot make as small as `frame_bytes`: end the run, or send nothing."""
    alpha: Annotated[float, Field(ge=0.0, le=1e9), Affects.ENCODING, Steers.SENDER] = 1.0
    """`task`: weight of |V(received) - V(original)|, where V(original) is 1."""
    beta: Annotated[float, Field(ge=0.0, le=1e9), Affects.ENCODING, Steers.SENDER] = 0.2
    """`task`: weight of a kilobyte (1000 bytes) on the air a camera frame: 0.2 pays 20 % of the accuracy for it."""
    task: Annotated[
        Literal["segmentation", "depth", "detection", "mean"], Affects.ENCODING, Steers.SENDER
    ] = "mean"
    """`task`: whose accuracy; `mean`: of all in the rate table."""
    profile: Annotated[Literal["tiny", "flux"], _BOTH_ENDS] = "tiny"
    """Which models: those that come with farlink, or the paper's own scale after `farlink models pull flux`."""
    generator: Annotated[
        Literal["flux", "sd21"], Field(exclude_if=lambda name: name == "flux"), Affects.DECODING
    ] = "flux"
    """Who draws: FLUX's kind, which both profiles have, or Stable Diffusion 2.1 in the folder `profile.generator`, else
    where models are pulled to (`sd21/generator`)."""
    channels: Annotated[int, Field(ge=0, le=4096), _BOTH_ENDS] = 8
    """How many latent channels are sent; fewer where `frame_bytes` is reached. 0: the caption alone."""
    max_channels: Annotated[Annotated[int, Field(ge=0, le=4096)] | None, Affects.ENCODING, Steers.SENDER] = (
        None
    )
    """Of `channels`, which both ends agree on beforehand, at most so many are sent; None: all."""
    order: Annotated[Literal["nested", "ssim"], _BOTH_ENDS] = "nested"
    """Which channels: the first ones, trained to be the best, or the most similar to the grey picture (GSC).

    The default is `nested` for the profile `tiny` and `ssim` for `flux`."""
    caption: Annotated[Literal["grammar", "vlm", "endpoint", "none"], _BOTH_ENDS] = "grammar"
    """Who writes it: a segmentation model in a closed grammar, a vision language model, an endpoint, nobody."""
    caption_words: Annotated[int, Field(ge=2, le=200), Affects.ENCODING, Steers.SENDER] = 24
    objects: Annotated[int, Field(ge=0, le=3, exclude_if=lambda count: count == 3), Affects.ENCODING] = 3
    """`sedic`, `sggic`: how many objects are sent at most, each with its name and details (the papers' J), and for
    `sedic` its mask."""
    name_words: Annotated[int, Field(ge=1, le=20, exclude_if=lambda words: words == 4), Affects.ENCODING] = 4
    """Of an object's name, at most (l_n, which the paper does not state)."""
    object_words: Annotated[
        int, Field(ge=1, le=100, exclude_if=lambda words: words == 20), Affects.ENCODING
    ] = 20
    """Of an object's details, at most (l_d; the paper: 10 to 30)."""
    text_coder: Annotated[
        Literal["shared", "huffman"], Field(exclude_if=lambda name: name == "shared"), _BOTH_ENDS
    ] = "shared"
    """`sedic`, `sggic`: how words become bytes: as GSC's, or by the Huffman code of SEDIC's paper, whose table is sent
    and counted."""
    mask_px: Annotated[Literal[1, 2, 4, 8, 16], Field(exclude_if=lambda px: px == 8), _BOTH_ENDS] = 8
    """`sedic`: pixels along a side of a mask's cell. 8 is what a latent of the generator stands for: it sees no finer
    one. The paper's is 1."""
    steps: Annotated[int, Field(ge=1, le=1000), Affects.DECODING, Steers.RECEIVER] = 8
    """Euler steps of the decoder."""
    object_steps: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None,
        Field(exclude_if=lambda steps: steps is None), Affects.DECODING, Steers.RECEIVER,
    ] = None  # fmt: skip
    """`sedic`, `sggic`: steps of the pass for each object (SEDIC: 10); None: as many as the whole takes."""
    attention: Annotated[
        float, Field(ge=0.0, le=1e6, exclude_if=lambda eta: eta == 40.0), Affects.DECODING, Steers.RECEIVER
    ] = 40.0
    """`sedic`: how far attention guidance moves the latent along its gradient (the paper's eta, 30 to 50); 0: off."""
    attention_ratio: Annotated[
        float, Field(ge=0.0, le=1.0, exclude_if=lambda share: share == 0.5), Affects.DECODING, Steers.RECEIVER
    ] = 0.5
    """The share of an object's steps, those nearest to noise, that are guided (T', which the paper does not state)."""
    adaptive: Annotated[bool, Field(exclude_if=lambda on: not on), Affects.DECODING] = False
    """`sggic`: whether steps and guidance are foretold for each picture (the paper's DynDiff), in place of `steps` and
    `guidance`."""
    noise_seed: Annotated[int, Field(ge=0, lt=1 << 63), Affects.DECODING, Steers.RECEIVER] = 1
    """Of the noise that the decoder draws from: not the scenario's seed, so that equal sections are equal pictures."""
    guidance: Annotated[float, Field(ge=0.0, le=100.0), Affects.DECODING, Steers.RECEIVER] = 1.0
    """FLUX.1-dev's distilled guidance, or classifier-free guidance where the model has none (1: off)."""
    control_scale: Annotated[float, Field(ge=0.0, le=10.0), Affects.DECODING, Steers.RECEIVER] = 1.0
    """Factor on the ControlNet's outputs."""
    strength: Annotated[float, Field(gt=0.0, le=1.0), Affects.DECODING, Steers.RECEIVER] = 1.0
    """Video: how far back to noise a frame starts from the last one's latents; 1: from pure noise."""

    @property
    def sent_channels(self) -> int:
        """How many latent channels are sent at most."""
        return self.channels if self.max_channels is None else min(self.channels, self.max_channels)

    @model_validator(mode="before")
    @classmethod
    def _order_of_profile(cls, given: Any) -> Any:
        """Only the shipped transform has its best channels first; those of CompressAI's zoo lie in any order."""
        if isinstance(given, dict) and given.get("profile") == "flux" and "order" not in given:
            return {**given, "order": "ssim"}
        return given


class ProfileConfig(Model):
    """Where the models of `codec.profile` are taken from, and how they run. A folder replaces a profile's part."""

    bundle: Annotated[ModelPlace, Field(exclude_if=lambda folder: folder is None)] = None
    """A folder that `farlink train all` made: each part that it holds stands for the profile's, at both ends. Parts
    that are named by fields of their own win over it."""
    transform: ModelPlace = None
    """A transform with its tables; both ends need the same one."""
    segmenter: ModelPlace = None
    """The sender's segmentation model, for `codec.caption: grammar`."""
    captioner: ModelPlace = None
    """The sender's vision language model, for `codec.caption: vlm`."""
    grounder: Annotated[ModelPlace, Field(exclude_if=lambda folder: folder is None)] = None
    """Finds the masks of named objects for `sedic`: a folder with `detector` (Grounding DINO) and `masker` (SAM)."""
    mask_finder: Annotated[ModelPlace, Field(exclude_if=lambda folder: folder is None)] = None
    """Finds named objects in decoded pictures for `sggic`: a folder with CLIPSeg and its processor."""
    dyndiff: Annotated[ModelPlace, Field(exclude_if=lambda folder: folder is None)] = None
    """Foretells steps and guidance for `codec.adaptive`: a folder that `farlink train dyndiff` leaves."""
    caption_url: ModelPlace = None
    """An OpenAI-compatible endpoint, for `codec.caption: endpoint`, as in http://127.0.0.1:8000/v1."""
    caption_model: Annotated[Text, Affects.PLACE] = "Qwen/Qwen2.5-VL-7B-Instruct"
    """What the endpoint calls its model."""
    generator: ModelPlace = None
    """A folder with all of the receiver's parts, in `save_pretrained` layout."""
    transformer: ModelPlace = None
    controlnet: ModelPlace = None
    vae: ModelPlace = None
    text: ModelPlace = None
    """A folder with text_encoder, text_encoder_2, tokenizer and tokenizer_2."""
    device: Annotated[Text, Affects.PROCESSOR] = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, ..."""
    load_s: Annotated[PositiveSeconds, Affects.NOTHING] = 1800.0
    """How long an end may take to load its models, from the moment when the link welcomed it."""
    picture_s: Annotated[PositiveSeconds | None, Affects.NOTHING] = None
    """How long the receiver's models may take for one picture before their process is ended, and started again.
    None: two minutes with `codec.profile: tiny`, an hour with `flux` and while `compile` is on."""
    memory_bytes: Annotated[Bytes | None, Affects.NOTHING] = None
    """How much main memory the process of the receiver's models may take. None: it has no limit of its own, and is the
    first to be ended where the machine runs out."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], Affects.PROCESSOR] = "auto"
    """auto: bfloat16 where the processor or the GPU has it."""
    control: Annotated[Literal["auto", "channels", "picture"], Affects.RUNNING] = "auto"
    """What the ControlNet is shown: the codec's channels (GSC), or their synthesis; auto: what it takes."""
    control_mode: Annotated[Literal["blur", "tile", "gray", "low_quality"], Affects.RUNNING] = "blur"
    """For `picture` and a union ControlNet: the kind of picture it is told it is shown."""
    offload: Annotated[bool, Affects.RUNNING] = False
    """Keep weights in main memory and move each layer to the GPU when it is its turn: little GPU memory, slow."""
    quantize: Annotated[Literal["none", "fp8_storage", "int8", "fp8", "nf4"], Affects.RUNNING] = "none"
    """Weights of transformer and ControlNet: int8 and fp8 need torchao, nf4 bitsandbytes; fp8_storage only stores."""
    compile: Annotated[bool, Affects.RUNNING] = False
    """torch.compile of the repeated blocks: minutes at the first picture of a size, faster from then on."""
    cache: Annotated[Literal["none", "first_block", "taylorseer"], Affects.RUNNING] = "none"
    """What steps before give: all blocks after the first where that changed little, or predicted attention."""
    cache_threshold: Annotated[float, Field(ge=0.0, le=10.0), Affects.RUNNING] = 0.08
    """For `first_block`: the relative change of the first block's residual up to which the rest is not computed."""
    lora: ModelPlace = None
    """A LoRA of the transformer, a .safetensors file or a folder with one: few-step weights, for instance."""
    lora_scale: Annotated[float, Field(ge=-10.0, le=10.0), Affects.RUNNING] = 1.0
    vae_tiles: Annotated[bool, Affects.RUNNING] = False
    """Decode in overlapping tiles as large as the VAE's pictures in training (FLUX's: 1024x1024): less memory."""
    preview_vae: ModelPlace = None
    """A folder with an AutoencoderTiny that decodes in place of `vae`: quick, a little coarser."""
    rate_table: ModelPlace = None
    """For `codec.rate_control: task`: a file that `farlink train rate` measured."""
    segmentation: ModelPlace = None
    """The receiver's analysis model for `analysis: [segmentation]`: a name (`segmentation-world`,
    `flux/segmentation`) or a folder in `save_pretrained` layout. None: by the source."""
    depth: ModelPlace = None
    """The same for `analysis: [depth]`."""
    detection: ModelPlace = None
    """The same for `analysis: [detection]`; or a YOLO11 file (.pt) where ultralytics is installed."""


MOST_SENDERS = 16
"""Of a session: each takes its share of the wire's frame numbers."""


class SenderConfig(Model):
    """One of several senders, each a camera and an encoder of its own; all else is as `camera` and `codec` say."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    source: Annotated[Text | None, Field(exclude_if=is_none), Affects.FRAMES] = None
    """Where its frames come from; None: as `camera.source`, drawn anew."""
    node: Annotated[str | None, Field(exclude_if=is_none), Affects.CHANNEL] = None
    """At which of `link.nodes` it is; None: at the first, or where the first hop begins."""


def camera_at(camera: Camera, seed: int, place: int, source: str | None) -> tuple[Camera, int]:
    """Return the camera of sender number *place*, with its own *source* or None, and the seed that it draws from."""
    own = camera if source is None else camera.model_copy(update={"source": source})
    return own, (seed + place) % (1 << 64)


class Session(Model):
    """What every process of a run is told: the resolved scenario without what only the report needs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64), Affects.NOTHING]
    """Names the run's folder: letters, digits, dot, dash, underscore."""
    camera: Camera
    senders: Annotated[tuple[SenderConfig, ...], Affects.FRAMES | Affects.CHANNEL] = Field(
        default=(), max_length=MOST_SENDERS, exclude_if=is_plain
    )
    """Who sends to the receiver, where there are several: all at once, each `camera.frames` frames."""
    codec: Codec
    link: Link
    profile: Annotated[ProfileConfig, Affects.MACHINE] = ProfileConfig()
    analysis: Annotated[tuple[Task, ...], Affects.FINDINGS, Steers.RECEIVER] = ()
    """Vision models that the receiver runs on what arrives; not part of the fingerprint or the wire. `all` in a
    scenario: every task that a model of the profile is made for at this source."""
    seed: Annotated[int, Field(ge=0, lt=1 << 64), Affects.FRAMES | Affects.CHANNEL] = 1
    live: Annotated[bool, Affects.FRAMES | Affects.CHANNEL] = False
    """Whether the run keeps up with the wall clock: of frames that close together only the newest is drawn, the
    camera's pictures that are late by a period are left out, and the journal holds when each end answered, so that
    the same run can be had again. It may be steered (`link.steering`)."""

    @model_validator(mode="after")
    def _until_the_next(self) -> "Session":
        if self.link.repair.fountain and self.camera.period_s is None:
            raise ValueError("link.repair.fountain lasts until the next frame: it needs camera.period_s")
        return self

    @property
    def stride(self) -> int:
        """How far apart the numbers of a sender's frames are: sender k of several has k, k + stride, ...

        A power of two, so that the wire's low bits of a number say whose it is.
        """
        return 1 << (len(self.senders) - 1).bit_length() if self.senders else 1

    @property
    def origins(self) -> tuple[int, ...]:
        """At which of the link's nodes the senders are, by number; node 0 where there are no nodes."""
        names = [node.name for node in self.link.nodes]
        return tuple(0 if one.node is None else names.index(one.node) for one in self.senders) or (0,)

    @property
    def all_frames(self) -> int | None:
        """How many frames all senders take at most; None: all that the source has."""
        return None if self.camera.frames is None else self.camera.frames * len(self.origins)

    def camera_of(self, sender: int) -> tuple[Camera, int]:
        """Return the camera of sender number *sender*, and the seed that it draws from."""
        return camera_at(
            self.camera, self.seed, sender, self.senders[sender].source if self.senders else None
        )

    @model_validator(mode="after")
    def _apart(self) -> "Session":
        """Raise ValueError where senders are at no node, alike, too many for their frames, or cannot be told apart."""
        if not self.senders:
            return self
        names = [one.name for one in self.senders]
        if len(set(names)) != len(names):
            raise ValueError("senders: each needs a name of its own")
        nodes = [node.name for node in self.link.nodes]
        for one in self.senders:
            if one.node is not None and one.node not in nodes[:-1]:
                raise ValueError(
                    f"senders: {one.name} is at {one.node!r}, which is none of link.nodes that send"
                )
            if one.node is not None:
                self.link.seen_from(nodes.index(one.node))
        if self.camera.frames is None or self.camera.frames > FRAMES // self.stride:
            raise ValueError(
                f"senders: give camera.frames, at most {FRAMES // self.stride} for each of so many"
            )
        if self.codec.strength < 1.0:
            raise ValueError(
                "senders: codec.strength below 1 begins with the last picture, which is another's"
            )
        if self.live:
            raise ValueError("senders: not in a live session")
        return self

    @field_validator("analysis")
    @classmethod
    def _each_once(cls, analysis: tuple[Task, ...]) -> tuple[Task, ...]:
        if len(set(analysis)) != len(analysis):
            raise ValueError("each task stands once")
        return tuple(task for task in TASKS if task in analysis)
