"""The samplers of other programs: each is the scheduler that it means, or has a nearest one.

The lists are those that the programs offer: A1111's web UI 1.10, ComfyUI, InvokeAI 5, diffusers 0.42.
"""

from __future__ import annotations

import pytest

from render.core.scheduler_names import nearest_schedulers, noise_schedule, scheduler_meant
from render.core.vocabulary import DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS, SCHEDULERS
from render.models.families.schedulers import DIFFUSION, FLOW

A1111 = (
    "DPM++ 2M|DPM++ SDE|DPM++ 2M SDE|DPM++ 2M SDE Heun|DPM++ 2S a|DPM++ 3M SDE|Euler a|Euler|LMS|Heun|DPM2|DPM2 a|DPM fast"
    "|DPM adaptive|Restart|DDIM|DDIM CFG++|PLMS|UniPC|LCM"
)
COMFYUI = (
    "euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral lms dpm_fast dpm_adaptive"
    " dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp dpmpp_2m_sde"
    " dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm ipndm ipndm_v deis"
    " res_multistep res_multistep_cfg_pp res_multistep_ancestral gradient_estimation er_sde seeds_2 seeds_3 sa_solver"
    " sa_solver_pece ddim uni_pc uni_pc_bh2"
)
INVOKEAI = (
    "ddim ddpm deis deis_k lms lms_k pndm heun heun_k euler euler_k euler_a kdpm_2 kdpm_2_k kdpm_2_a kdpm_2_a_k dpmpp_2s"
    " dpmpp_2s_k dpmpp_2m dpmpp_2m_k dpmpp_2m_sde dpmpp_2m_sde_k dpmpp_3m dpmpp_3m_k dpmpp_sde dpmpp_sde_k unipc unipc_k lcm"
    " tcd"
)
CLASSES = (
    "DDPMScheduler DDIMScheduler PNDMScheduler LMSDiscreteScheduler EulerDiscreteScheduler EulerAncestralDiscreteScheduler"
    " HeunDiscreteScheduler KDPM2DiscreteScheduler KDPM2AncestralDiscreteScheduler DPMSolverMultistepScheduler"
    " DPMSolverSinglestepScheduler DPMSolverSDEScheduler UniPCMultistepScheduler DEISMultistepScheduler IPNDMScheduler"
    " LCMScheduler TCDScheduler EDMEulerScheduler SASolverScheduler FlowMatchEulerDiscreteScheduler"
    " FlowMatchHeunDiscreteScheduler"
)
SCHEDULES = ["Karras", "Exponential", "Polyexponential", "SGM Uniform", "Simple", "Normal", "Beta", "Uniform"]
K_DIFFUSION = "euler euler_a lms heun dpm_2 dpm_2_a dpmpp_2m dpmpp_sde dpmpp_2s_a dpm_fast"
BY_A1111 = [name for name in A1111.split("|") if name != "DDIM"]  # ComfyUI has a noise schedule DDIM uniform
EVERY = {*A1111.split("|"), *(f"{name} {schedule}" for name in BY_A1111 for schedule in SCHEDULES)}
EVERY |= {*COMFYUI.split(), *INVOKEAI.split(), *CLASSES.split()}
EVERY |= {f"k_{name}{karras}" for name in K_DIFFUSION.split() for karras in ("", "_ka")}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_name_is_understood_or_has_a_nearest(name: str) -> None:
    for written in (name, name.upper(), f" {name} "):
        meant = scheduler_meant(written)
        assert meant == scheduler_meant(name)
        near = nearest_schedulers(written, SCHEDULERS)
        assert near, name
        assert meant is None or near == (meant,) or meant.endswith("karras")
        assert set(nearest_schedulers(written, FLOW_SCHEDULERS)) <= set(FLOW_SCHEDULERS)
        assert nearest_schedulers(written, FLOW_SCHEDULERS)
        assert set(nearest_schedulers(written, DIFFUSION_SCHEDULERS)) <= set(DIFFUSION_SCHEDULERS)
        assert nearest_schedulers(written, DIFFUSION_SCHEDULERS)


@pytest.mark.parametrize(
    ("meant", "names"),
    [
        ("ddim", "DDIM|ddim|DDIMScheduler"),
        ("pndm", "PLMS|plms|pndm|PNDMScheduler|PNDM"),
        ("lms", "LMS|k_lms|LMSDiscreteScheduler|K-LMS|KLMS|lms"),
        ("euler", "Euler|k_euler|EulerDiscreteScheduler|K_EULER|EULER_DISCRETE"),
        (
            "euler_a",
            "Euler a|k_euler_a|euler_ancestral|Euler Ancestral|EulerAncestralDiscreteScheduler|euler a|Euler A",
        ),
        ("heun", "Heun|k_heun|HeunDiscreteScheduler"),
        ("dpm++2m", "DPM++ 2M|dpmpp_2m|k_dpmpp_2m|DPMSolverMultistepScheduler|dpm++2m |dpm++ 2m|DPM-Solver++"),
        ("dpm++2m karras", "DPM++ 2M Karras|dpmpp_2m_k|k_dpmpp_2m_ka|dpmpp_2m_karras|dpm++2m karras|DPM++ 2M  karras"),
        ("dpm++ sde", "DPM++ SDE|dpmpp_sde|k_dpmpp_sde|dpmpp_sde_gpu"),
        ("unipc", "UniPC|uni_pc|unipc|uni_pc_bh2|UniPCMultistepScheduler"),
        ("deis", "DEIS|deis|DEISMultistepScheduler"),
        ("lcm", "LCM|lcm|LCMScheduler"),
        ("flow-euler", "Flow Match Euler|FlowMatchEulerDiscreteScheduler|flow_match_euler|flow-euler"),
        ("flow-heun", "FlowMatchHeunDiscreteScheduler|Flow Match Heun"),
        (
            None,
            "DPM2|DPM++ 2M SDE|DPM++ SDE Karras|LMS Karras|euler_k|unipc_k|DDPM|DPM++ 2M Exponential|Euler Simple|nope|",
        ),
    ],
)
def test_the_scheduler_that_is_meant(meant: str | None, names: str) -> None:
    for name in names.split("|"):
        assert scheduler_meant(name) == meant, name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("DDPM", ("ddim",)),
        ("DPM2", ("heun",)),
        ("DPM2 a Karras", ("euler_a",)),
        ("DPM++ SDE Karras", ("dpm++ sde",)),
        ("dpmpp_2m_sde", ("dpm++ sde", "dpm++2m")),
        ("DPM++ 2M SDE Karras", ("dpm++ sde", "dpm++2m karras")),
        ("LMS Karras", ("lms",)),
        ("karras", ("dpm++2m karras",)),
        ("eulr", ("euler", "euler_a")),
        ("flow-unipc", ("unipc",)),
    ],
)
def test_the_nearest(name: str, near: tuple[str, ...]) -> None:
    assert nearest_schedulers(name, DIFFUSION_SCHEDULERS) == near


@pytest.mark.parametrize("name", SCHEDULERS)
def test_our_own_names_and_classes(name: str) -> None:
    """A class that one scheduler alone is made of means that one."""
    assert scheduler_meant(name) == name
    assert not noise_schedule(name)
    kinds = [spec[0] for spec in (DIFFUSION | FLOW).values()]
    class_name, settings = (DIFFUSION | FLOW)[name]
    if kinds.count(class_name) == 1 and "algorithm_type" not in settings:
        assert scheduler_meant(class_name) == name


@pytest.mark.parametrize("name", ["karras", "sgm_uniform", "simple", "normal", "ddim_uniform", "kl_optimal", "Beta"])
def test_noise_schedules_are_no_samplers(name: str) -> None:
    assert noise_schedule(name)
    assert scheduler_meant(name) is None
