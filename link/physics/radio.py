"""A radio hop's budget: antennas, path, air and noise to C/N0; then by modulation and code, or LoRa, to errors."""

from functools import cache
from typing import Annotated, Literal

from pydantic import Field, model_validator

from link.errors import UsageError
from link.fields import Ratio
from link.physics import budget, lora
from link.physics.atmosphere import LOW_DEG, Atmosphere
from link.physics.codes import Code, codes
from link.physics.medium import (
    Assessment,
    GainDbi,
    Kelvin,
    LinkBudget,
    LossDb,
    Metres,
    RatedBudget,
    Sheet,
    Watts,
    in_hz,
)
from link.physics.modulation import COHERENT, MODULATIONS, lora_error_rate, solve_db

Modulation = Literal[
    "bpsk", "qpsk", "msk", "bpsk-differential", "dbpsk", "dqpsk", "gmsk", "fsk-2", "fsk-4", "fsk-8", "fsk-16"
]
AxialRatioDb = Annotated[float, Field(ge=0.0, le=100.0)]
_TINY = 1e-12
"""Error rates below it are none: a bit in eleven days at 1 Mbit/s."""


class AntennaBudget(LinkBudget):
    """What lies between two antennas, and the antennas."""

    frequency_hz: Annotated[float, Field(ge=1e4, le=1e12)]
    power_w: Watts
    line_loss_db: LossDb = 0.0
    """Between the transmitter and its antenna."""
    transmit_gain_dbi: GainDbi | None = None
    transmit_dish_m: Metres | None = None
    """In place of the gain: the diameter."""
    transmit_efficiency_ratio: Annotated[Ratio, Field(gt=0.0)] = 0.6
    transmit_pointing_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """By how much it points beside the receiver."""
    receive_gain_dbi: GainDbi | None = None
    receive_dish_m: Metres | None = None
    receive_efficiency_ratio: Annotated[Ratio, Field(gt=0.0)] = 0.6
    receive_pointing_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    receive_line_loss_db: LossDb = 0.0
    """Between the antenna and the receiver; without `system_k`."""
    system_k: Kelvin | None = None
    """The receiver's whole noise temperature, the sky's included; None: by `antenna_k` and `noise_figure_db`."""
    antenna_k: Kelvin | None = None
    """What the antenna takes in; None: the sky through `atmosphere`."""
    noise_figure_db: LossDb = 0.0
    g_t_db_k: Annotated[float, Field(ge=-100.0, le=150.0)] | None = None
    """In place of the receiver's gain and temperature: its figure of merit."""
    polarisation_db: LossDb | None = None
    """What unequal polarisations lose; None: by the axial ratios."""
    transmit_axial_ratio_db: AxialRatioDb = 0.0
    """0: circular; 100: linear to all purposes."""
    receive_axial_ratio_db: AxialRatioDb = 0.0
    tilt_deg: Annotated[float, Field(ge=-180.0, le=180.0)] = 90.0
    """Between the long axes of both polarisations; 90 is the worst."""
    atmosphere: Atmosphere | None = None
    atmosphere_db: LossDb | None = None
    """In place of `atmosphere`: the figure itself."""
    other_losses_db: LossDb = 0.0

    @model_validator(mode="after")
    def _each_said_once(self) -> "AntennaBudget":
        if (self.transmit_gain_dbi is None) == (self.transmit_dish_m is None):
            raise ValueError("give transmit_gain_dbi or transmit_dish_m, one of the two")
        receiver = (self.receive_gain_dbi, self.receive_dish_m)
        if self.g_t_db_k is not None:
            if receiver != (None, None) or self.system_k is not None:
                raise ValueError(
                    "g_t_db_k takes the place of the receiver's gain and temperature: give it alone"
                )
        elif (receiver[0] is None) == (receiver[1] is None):
            raise ValueError("give g_t_db_k, receive_gain_dbi or receive_dish_m, one of them")
        if self.system_k is not None and (self.antenna_k is not None or self.noise_figure_db):
            raise ValueError("system_k is the whole: give it without antenna_k and noise_figure_db")
        if self.atmosphere is not None and self.atmosphere_db is not None:
            raise ValueError("give atmosphere or atmosphere_db, not both")
        return self

    def elevations(self) -> tuple[tuple[float, float], ...]:
        """See `LinkBudget.elevations`."""
        if self.atmosphere is None:
            return ()
        if self.atmosphere.elevation_deg is not None:
            return ((0.0, self.atmosphere.elevation_deg),)
        return self.atmosphere.elevation_at_deg or ()

    def carrier(
        self, sheet: Sheet, distance_km: float, elevation_deg: float | None
    ) -> tuple[float, list[str]]:
        """Write the terms down to C/N0; return it in dBHz, and what to know about it. Raise UsageError."""
        notes: list[str] = []
        f = self.frequency_hz
        sheet.add("transmit power", f"{self.power_w:g} W", budget.to_db(self.power_w), "dBW")
        if self.line_loss_db:
            sheet.add("line loss", "", -self.line_loss_db)
        gain = self._antenna(sheet, "transmit", self.transmit_gain_dbi, self.transmit_dish_m,
                             self.transmit_efficiency_ratio)  # fmt: skip
        sheet.sum("EIRP", "dBW")
        path_db = budget.free_space_db(distance_km, f)
        sheet.add("free space", f"{distance_km:.6g} km, {in_hz(f)}", -path_db)
        self._point(sheet, "transmit", self.transmit_pointing_deg, gain, self.transmit_dish_m)
        self._polarise(sheet)
        air_db = self._air(sheet, elevation_deg, notes)
        if self.other_losses_db:
            sheet.add("other losses", "", -self.other_losses_db)
        received = None
        if self.g_t_db_k is not None:
            sheet.add("G/T", "", self.g_t_db_k, "dB/K")
        else:
            received = self._antenna(sheet, "receive", self.receive_gain_dbi, self.receive_dish_m,
                                 self.receive_efficiency_ratio)  # fmt: skip
            noise_k, words = self._noise_k(air_db)
            sheet.add("system noise", words, -budget.to_db(noise_k), "dB/K")
            sheet.say("G/T", "", received - budget.to_db(noise_k), "dB/K")
        self._point(sheet, "receive", self.receive_pointing_deg, received, self.receive_dish_m)
        sheet.add("Boltzmann", "-10 log k", -budget.BOLTZMANN_DB, "dB")
        return sheet.sum("C/N0", "dBHz"), notes

    def _antenna(
        self, sheet: Sheet, end: str, gain_dbi: float | None, dish_m: float | None, efficiency: float
    ) -> float:
        words = ""
        if gain_dbi is None:
            assert dish_m is not None
            gain_dbi = budget.dish_gain_dbi(dish_m, self.frequency_hz, efficiency)
            words = f"dish of {dish_m:g} m, efficiency {efficiency:g}"
        sheet.add(f"{end} antenna", words, gain_dbi, "dBi")
        return gain_dbi

    def _point(
        self, sheet: Sheet, end: str, error_deg: float, gain_dbi: float | None, dish_m: float | None
    ) -> None:
        if not error_deg:
            return
        if dish_m is not None:
            width = budget.beamwidth_deg(dish_m, self.frequency_hz)
        elif gain_dbi is not None:
            width = budget.beamwidth_of_gain_deg(gain_dbi)
        else:
            raise UsageError(f"{end}_pointing_deg: the beam's width is not known from g_t_db_k")
        try:
            loss = budget.pointing_loss_db(error_deg, width)
        except ValueError as error:
            raise UsageError(f"{end}_pointing_deg: {error}") from None
        sheet.add(f"{end} pointing", f"{error_deg:g} deg off, beam {width:.3g} deg", -loss)

    def _polarise(self, sheet: Sheet) -> None:
        if self.polarisation_db is not None:
            if self.polarisation_db:
                sheet.add("polarisation", "", -self.polarisation_db)
            return
        one, other = self.transmit_axial_ratio_db, self.receive_axial_ratio_db
        if one or other:
            words = f"axial ratios {one:g} and {other:g} dB, tilt {self.tilt_deg:g} deg"
            sheet.add("polarisation", words, -budget.polarisation_loss_db(one, other, self.tilt_deg))

    def _air(self, sheet: Sheet, elevation_deg: float | None, notes: list[str]) -> float:
        if self.atmosphere_db is not None:
            sheet.add("atmosphere", "", -self.atmosphere_db)
            return self.atmosphere_db
        if self.atmosphere is None or elevation_deg is None:
            return 0.0
        about = self.atmosphere
        taken = about.attenuation_db(self.frequency_hz, elevation_deg)
        where = about.station or about.place
        words = (
            f"{where}, elevation {elevation_deg:.3g} deg, exceeded {about.exceeded_ratio * 100:g} % of a year"
        )
        sheet.add("atmosphere", words, -taken)
        if elevation_deg < LOW_DEG:
            notes.append(
                f"At an elevation of {elevation_deg:.3g} deg the air's models are beyond what they were fitted to."
            )
        return taken

    def _noise_k(self, air_db: float) -> tuple[float, str]:
        if self.system_k is not None:
            return self.system_k, f"{self.system_k:g} K"
        antenna_k = budget.sky_k(air_db) if self.antenna_k is None else self.antenna_k
        noise_k = budget.system_k(antenna_k, self.receive_line_loss_db, self.noise_figure_db)
        words = f"{noise_k:.4g} K: antenna {antenna_k:.3g} K, line {self.receive_line_loss_db:g} dB, "
        return noise_k, words + f"noise figure {self.noise_figure_db:g} dB"


class RadioBudget(RatedBudget, AntennaBudget):
    """Radio with a modulation, and a code where there is one."""

    medium: Literal["radio"]
    modulation: Modulation = "bpsk"
    code: Annotated[str, Field(max_length=64)] | None = None
    """A name of `weights/codes.json`, or `rs-255-223`; None: uncoded."""
    index_deg: Annotated[float, Field(gt=0.0, le=90.0)] | None = None
    """Modulation index, where a residual carrier keeps some of the power; None: all of it is data's."""

    @model_validator(mode="after")
    def _known_code(self) -> "RadioBudget":
        require_code(self.modulation, self.code, self.damaged_ratio)
        return self

    def assess(self, distance_km: float, elevation_deg: float | None = None) -> Assessment:
        """See `LinkBudget.assess`."""
        sheet = Sheet()
        c_n0, notes = self.carrier(sheet, distance_km, elevation_deg)
        index_db = budget.data_power_db(self.index_deg) if self.index_deg is not None else 0.0
        return with_rate(self, sheet, c_n0, self.modulation, self.code, notes, index_db, self.index_deg)


class LoraBudget(AntennaBudget):
    """LoRa's chirps. Its code finds errors more than it mends them and is not reckoned with."""

    medium: Literal["lora"]
    spreading_factor: Annotated[int, Field(ge=lora.FACTORS[0], le=lora.FACTORS[-1])]
    bandwidth_hz: Annotated[float, Field(ge=7800.0, le=1.7e6)] = 125e3
    coding: Annotated[int, Field(ge=1, le=4)] = 1
    """1 to 4 for 4/5 to 4/8."""

    @model_validator(mode="after")
    def _no_words(self) -> "LoraBudget":
        if self.damaged_ratio is not None:
            raise ValueError("damaged_ratio is for codes that have words: without, bits flip one by one")
        return self

    def assess(self, distance_km: float, elevation_deg: float | None = None) -> Assessment:
        """See `LinkBudget.assess`."""
        sheet = Sheet()
        c_n0, notes = self.carrier(sheet, distance_km, elevation_deg)
        sheet.add("bandwidth", in_hz(self.bandwidth_hz), -budget.to_db(self.bandwidth_hz), "dBHz")
        if self.implementation_db:
            sheet.add("implementation", "", -self.implementation_db)
        snr = sheet.sum("SNR", "dB")
        required = _lora_required_db(self.spreading_factor, self.wanted_error_rate)
        words = f"SF{self.spreading_factor}, bit error rate {self.wanted_error_rate:g}"
        sheet.say("required SNR", words, required, "dB")
        sheet.say("margin", "", snr - required, "dB")
        error = min(0.5, lora_error_rate(budget.from_db(snr), self.spreading_factor))
        rate = lora.rate_bps(self.spreading_factor, self.bandwidth_hz, self.coding)
        sheet.say("rate", f"of a packet's body, code 4/{4 + self.coding}", rate, "bit/s")
        sheet.say("bit error rate", "", error, "")
        eb_n0 = c_n0 - budget.to_db(rate) - self.implementation_db
        return Assessment(
            tuple(sheet.terms), rate, snr - required, error if error > _TINY else 0.0, None, c_n0, eb_n0, None,
            tuple(notes),
        )  # fmt: skip


@cache
def _lora_required_db(spreading_factor: int, wanted: float) -> float:
    return solve_db(lambda snr: lora_error_rate(snr, spreading_factor), wanted, -40.0, 20.0)


@cache
def required_db(modulation: str, code: str | None, wanted: float) -> float:
    """Return the Eb/N0 in dB at which *modulation* with *code* has the error rate *wanted*. Raise ValueError."""
    if code is not None:
        return codes()[code].required_db(wanted)
    return solve_db(MODULATIONS[modulation], wanted)


def require_code(modulation: str, code: str | None, damaged_ratio: float | None) -> None:
    """Raise ValueError where *code* is none that is known, or cannot be had with *modulation*, or damaged."""
    if code is None:
        if damaged_ratio is not None:
            raise ValueError("damaged_ratio is for codes that have words: without, bits flip one by one")
        return
    if code not in codes():
        raise ValueError(f"unknown code {code!r}; there are {', '.join(codes())}")
    if modulation not in COHERENT:
        raise ValueError(f"the tables of codes hold for {', '.join(COHERENT)}, not for {modulation}")
    if codes()[code].block_bits is None and damaged_ratio is not None:
        raise ValueError(f"damaged_ratio is for codes that have words: {code} leaves bits wrong one by one")


def with_rate(
    about: RatedBudget,
    sheet: Sheet,
    c_n0: float,
    modulation: str,
    code_name: str | None,
    notes: list[str],
    index_db: float = 0.0,
    index_deg: float | None = None,
) -> Assessment:
    """Go on from C/N0 to the rate, Eb/N0, the margin and the errors, and write them down. Raise UsageError."""
    code: Code | None = None if code_name is None else codes()[code_name]
    try:
        required = required_db(modulation, code_name, about.wanted_error_rate)
    except ValueError as why:
        raise UsageError(f"wanted_error_rate: {why}") from None
    rate, words = about.rate_bps, "given"
    if rate is None:
        highest = budget.highest_rate_bps(c_n0 + index_db, required, about.margin_db, about.implementation_db)
        if about.rates_bps is not None:
            rate, words = (
                budget.rung_bps(about.rates_bps, highest),
                f"{highest:.6g} bit/s at {about.margin_db:g} dB margin",
            )
            if highest < about.rates_bps[0]:
                notes.append("The margin is not there even at the lowest rate.")
        else:
            rate, words = highest, f"what {about.margin_db:g} dB of margin leave"
        if not 0.001 <= rate <= 1e12:
            raise UsageError(f"the budget leaves {rate:.3g} bit/s; 0.001 to 1e12 were expected")
    if index_deg is not None:
        sheet.add("data power", f"modulation index {index_deg:g} deg", index_db)
    sheet.add("rate", f"{rate:.7g} bit/s, {words}", -budget.to_db(rate))
    if about.implementation_db:
        sheet.add("implementation", "", -about.implementation_db)
    eb_n0 = sheet.sum("Eb/N0", "dB")
    of = "word" if code is not None and code.block_bits is not None else "bit"
    title = f"{modulation}, {code_name or 'uncoded'}"
    sheet.say("required Eb/N0", f"{title}, {of} error rate {about.wanted_error_rate:g}", required, "dB")
    sheet.say("margin", "", eb_n0 - required, "dB")
    if code is None:
        error, block = min(0.5, MODULATIONS[modulation](budget.from_db(eb_n0))), None
        if modulation == "gmsk":
            notes.append("GMSK's error rate is approximate.")
    else:
        coded = code.error(eb_n0)
        error, block = coded.rate, code.block_bits
        if coded.floored:
            notes.append(
                f"Beyond the table's last point ({code.points[-1][0]:g} dB): the true error rate is at most "
                f"{error:.2g}, and no source says how much less."
            )
        if code.uncertainty_db:
            notes.append(
                f"{code.title}: {code.source}; good to {code.uncertainty_db:g} dB ({code.uncertainty})."
            )
    sheet.say(
        "bit error rate" if block is None else "block error rate",
        f"of {block} bits" if block else "",
        error,
        "",
    )
    return Assessment(
        tuple(sheet.terms), rate, eb_n0 - required, error if error > _TINY else 0.0, block, c_n0, eb_n0, required,
        tuple(notes),
    )  # fmt: skip
