"""Which generator a session draws with: FLUX's kind or Stable Diffusion 2.1, behind one interface."""

from link.config import Codec, Session
from link.device import pick_device
from receiver.device import pick_dtype
from receiver.diffusion import Diffusion
from receiver.folders import part_folders
from receiver.generator import Generator, Sampling
from receiver.parts import Parts
from receiver.sd_parts import SdParts
from receiver.text_encoder import TextEncoder
from receiver.transform import Synthesis


def open_generator(session: Session, synthesis: Synthesis | None) -> Generator | Diffusion:
    """Return the generator of *session*; *synthesis* is that of the channels, for codecs that send some.

    Raise ModelMissingError where a part is not here.
    """
    profile, folders = session.profile, part_folders(session)
    device = pick_device(profile.device)
    dtype = pick_dtype(profile.dtype, device)
    if session.codec.generator == "sd21":
        return Diffusion(
            SdParts.from_pretrained(folders, dtype).to(device), synthesis, sampling(session.codec)
        )
    parts = Parts.from_pretrained(folders, dtype, profile).to(device, profile.offload).hasten(profile.compile)
    text = TextEncoder.from_pretrained(folders, dtype).to(device, profile.offload)
    return Generator(parts, text, synthesis, sampling(session.codec))


def sampling(codec: Codec) -> Sampling:
    """Return how *codec* has pictures drawn."""
    return Sampling(codec.steps, codec.guidance, codec.control_scale, codec.strength, codec.noise_seed)
