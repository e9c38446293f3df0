"""Problems with known answers: samplers with their information, vulnerabilities, and closed forms of worst cases.

Used by the tests, by the self-test of the command line, and by anyone who wants to check an estimator.
"""

from art_mi.distributions.catalogue import problems
from art_mi.distributions.closed_forms import (
    additive_uniform_information,
    binary_entropy,
    gaussian_information,
    linear_gaussian_information,
    student_information,
    table_information,
    two_point_gaussian_information,
    two_point_uniform_information,
    zero_inflated_poisson_information,
)
from art_mi.distributions.problem import Problem
from art_mi.distributions.vulnerability import VulnerabilityProblem, vulnerability_problems
from art_mi.distributions.worst_cases import (
    SignWorstCase,
    empirical_sign_worst_case,
    floor_worst_case,
    linear_sign_worst_case,
    theorem_3_2_bounds,
)

__all__ = [
    "Problem",
    "SignWorstCase",
    "VulnerabilityProblem",
    "additive_uniform_information",
    "binary_entropy",
    "empirical_sign_worst_case",
    "floor_worst_case",
    "gaussian_information",
    "linear_gaussian_information",
    "linear_sign_worst_case",
    "problems",
    "student_information",
    "table_information",
    "theorem_3_2_bounds",
    "two_point_gaussian_information",
    "two_point_uniform_information",
    "vulnerability_problems",
    "zero_inflated_poisson_information",
]
