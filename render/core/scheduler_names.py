"""The names that other programs have for schedulers: A1111, ComfyUI, InvokeAI, k-diffusion and diffusers' classes.

A name is compared without case, blanks, signs, `k_` in front and `Scheduler` behind; `++` reads as `pp`. What stands for
the noise schedule (`Karras`, InvokeAI's `_k`, A1111's `_ka`) is taken off before. Standard library only.
"""

from __future__ import annotations

import difflib
import re

from render.core.vocabulary import FLOW_SCHEDULERS, SCHEDULERS

__all__ = ["nearest_schedulers", "noise_schedule", "scheduler_meant"]

SAME = {  # ours: names of the same sampler, folded
    "ddim": ("ddim",),
    "pndm": ("pndm", "plms"),
    "lms": ("lms", "lmsdiscrete", "lmsd"),
    "euler": ("euler", "eulerdiscrete"),
    "euler_a": ("eulera", "eulerancestral", "eulerancestraldiscrete"),
    "heun": ("heun", "heundiscrete"),
    "dpm++2m": ("dpmpp2m", "dpmpp2", "dpmsolverpp", "dpmsolvermultistep", "dpmsolverpp2m"),
    "dpm++ sde": ("dpmppsde", "dpmppsdegpu"),
    "unipc": ("unipc", "unipcmultistep", "unipcbh2"),
    "deis": ("deis", "deismultistep"),
    "lcm": ("lcm",),
    "flow-euler": (
        "floweuler",
        "flowmatcheuler",
        "flowmatcheulerdiscrete",
        "flowmatch",
        "flowmatching",
        "rectifiedflow",
    ),
    "flow-heun": ("flowheun", "flowmatchheun", "flowmatchheundiscrete"),
    "flow-dpm++2m": ("flowdpmpp2m", "flowdpmsolvermultistep", "flowmatchdpmpp2m", "flowmatchdpmsolvermultistep"),
    "flow-unipc": ("flowunipc", "flowunipcmultistep", "flowmatchunipc"),
}
NEAR = {  # ours, the nearest first: names of samplers that are not offered, folded
    ("ddim",): ("ddpm", "ddpmparallel", "ddimparallel", "ddiminverse", "ddimcfgpp"),
    ("pndm",): ("ipndm", "ipndmv"),
    ("euler",): ("eulercfgpp", "edmeuler", "gradientestimation", "gradientestimationcfgpp", "eulersmeadyn"),
    ("euler_a",): (
        "eulerancestralcfgpp",
        "dpm2a",
        "dpm2ancestral",
        "kdpm2a",
        "kdpm2ancestral",
        "kdpm2ancestraldiscrete",
    ),
    ("heun",): ("dpm2", "kdpm2", "kdpm2discrete", "heunpp2", "restart", "expheun2x0"),
    ("dpm++2m",): (
        *("dpmsolver", "dpmfast", "dpmadaptive", "dpmad", "dpmpp2mcfgpp", "dpmpp3m", "dpmsolversinglestep", "dpmpp2s"),
        *("resmultistep", "resmultistepcfgpp", "dpmsolverdpmpp", "edmdpmsolvermultistep"),
    ),
    ("dpm++ sde", "euler_a"): ("dpmpp2sa", "dpmpp2sancestral", "dpmpp2sancestralcfgpp", "resmultistepancestral"),
    ("dpm++ sde", "dpm++2m"): (
        *("dpmpp2msde", "dpmpp2msdegpu", "dpmpp2msdeheun", "dpmpp2msdeheungpu", "dpmpp3msde", "dpmpp3msdegpu"),
        *(
            "dpmsolversde",
            "ersde",
            "seeds2",
            "seeds3",
            "sasolver",
            "sasolverpece",
            "expheun2x0sde",
            "cosinedpmsolvermultistep",
        ),
    ),
    ("lcm",): ("tcd",),
    ("flow-euler",): ("flowmatchlcm", "flowmatcheulerancestral"),
}
SCHEDULES = (  # noise schedules that stand behind a sampler's name, folded, the longer first
    *("karras", "polyexponential", "exponential", "sgmuniform", "kloptimal", "alignyoursteps", "linearquadratic"),
    *("simple", "normal", "uniform", "automatic", "beta"),
)
KARRAS = {"dpm++2m": "dpm++2m karras"}  # samplers that are offered with Karras's sigmas, too
IN_FLOW = {  # of a model of flow matching: the sampler that is meant by
    "euler": "flow-euler",
    "heun": "flow-heun",
    "dpm++2m": "flow-dpm++2m",
    "dpm++2m karras": "flow-dpm++2m",
    "unipc": "flow-unipc",
}
BY_FOLDED = {name: ours for ours, names in SAME.items() for name in names}
NEAR_FOLDED = {name: ours for ours, names in NEAR.items() for name in names}
SHORT_KARRAS = re.compile(r"[_ ](k|ka)$")  # InvokeAI's and A1111's


def _fold(name: str) -> str:
    plain = name.strip().casefold().replace("++", "pp")
    plain = re.sub(r"^(sample[_ ])?k[_ -](diffusion[_ -])?", "", plain)
    return re.sub(r"[\W_]+", "", plain).removesuffix("scheduler").removesuffix("sampler")


def _parts(name: str) -> tuple[str, str]:
    """Return the folded sampler and the noise schedule of a name, "" for none."""
    plain = name.strip().casefold()
    short = SHORT_KARRAS.sub("", plain)
    if short != plain:
        return _fold(short), "karras"
    folded = _fold(name)
    for known in (folded, folded.removeprefix("k")):  # KLMS
        if known in BY_FOLDED or known in NEAR_FOLDED:
            return known, ""
    for schedule in SCHEDULES:
        if folded.endswith(schedule) and folded != schedule:
            return folded.removesuffix(schedule), schedule
    return folded, ""


def scheduler_meant(name: str) -> str | None:
    """Return the scheduler, one of SCHEDULERS, that a name of ours or of another program means; None for no such one.

    >>> [scheduler_meant(name) for name in ("DPM++ 2M Karras", "k_euler_ancestral", "PNDMScheduler", "DPM++ 2M SDE")]
    ['dpm++2m karras', 'euler_a', 'pndm', None]
    """
    if name in SCHEDULERS:
        return name
    sampler, schedule = _parts(name)
    ours = BY_FOLDED.get(sampler)
    if ours is None or not schedule:
        return ours
    return KARRAS.get(ours) if schedule == "karras" else None


def noise_schedule(name: str) -> bool:
    """Return True for the name of a noise schedule, as ComfyUI's field `scheduler` has it."""
    return _fold(name) in (*SCHEDULES, "ddimuniform", "sgm")


def nearest_schedulers(name: str, fitting: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of some schedulers that are nearest to what a name means, the best first; () when none is.

    >>> nearest_schedulers("DPM++ SDE Karras", SCHEDULERS), nearest_schedulers("euler", FLOW_SCHEDULERS)
    (('dpm++ sde',), ('flow-euler',))
    """
    sampler, schedule = _parts(name)
    if noise_schedule(name):
        near: tuple[str, ...] = ("dpm++2m karras",) if _fold(name) == "karras" else ()
    elif sampler in BY_FOLDED:
        near = (BY_FOLDED[sampler],)
    elif sampler in NEAR_FOLDED:
        near = tuple(KARRAS.get(ours, ours) if schedule == "karras" else ours for ours in NEAR_FOLDED[sampler])
    else:
        close = difflib.get_close_matches(sampler, BY_FOLDED, 3)
        near = tuple(dict.fromkeys(BY_FOLDED[one] for one in close))
    if all(one in FLOW_SCHEDULERS for one in fitting):
        near = tuple(dict.fromkeys(IN_FLOW.get(one, one if one in FLOW_SCHEDULERS else "flow-euler") for one in near))
        near = tuple(one if one in fitting else "flow-euler" for one in near)
    elif not any(one in FLOW_SCHEDULERS for one in fitting):
        back = {flowing: ours for ours, flowing in IN_FLOW.items() if not ours.endswith("karras")}
        near = tuple(dict.fromkeys(back.get(one, one) for one in near))
    return tuple(one for one in dict.fromkeys(near) if one in fitting)
