"""GCJ-02 and BD-09, the shifted coordinates of Chinese maps, to WGS-84 and back (P-1.1).

Longitudes and latitudes are NumPy arrays (or floats) in degrees. The shift is the publicly known polynomial
over the Krasovsky ellipsoid; outside China's bounding box there is none. Back and forth stays within a metre.
"""

import numpy as np

_AXIS = 6_378_245.0
_ECCENTRICITY_SQUARED = 0.00669342162296594323
_BAIDU = np.pi * 3000 / 180
SYSTEMS = ["WGS-84", "GCJ-02", "BD-09"]


def to_wgs84(longitude, latitude, system: str) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of one of `SYSTEMS` → WGS-84; ValueError for another system."""
    longitude, latitude = np.asarray(longitude, float), np.asarray(latitude, float)
    if system == "WGS-84":
        return longitude, latitude
    if system == "BD-09":
        longitude, latitude = _bd09_to_gcj02(longitude, latitude)
    elif system != "GCJ-02":
        raise ValueError(f"不认识的坐标系“{system}”，应为 {'、'.join(SYSTEMS)} 之一")
    # The shift is smooth and small: three steps bring the guess within a millimetre.
    guess_longitude, guess_latitude = longitude, latitude
    for _ in range(3):
        shift_longitude, shift_latitude = _shift(guess_longitude, guess_latitude)
        guess_longitude, guess_latitude = longitude - shift_longitude, latitude - shift_latitude
    return guess_longitude, guess_latitude


def from_wgs84(longitude, latitude, system: str) -> tuple[np.ndarray, np.ndarray]:
    """WGS-84 → coordinates of one of `SYSTEMS`; ValueError for another system."""
    longitude, latitude = np.asarray(longitude, float), np.asarray(latitude, float)
    if system == "WGS-84":
        return longitude, latitude
    if system not in SYSTEMS:
        raise ValueError(f"不认识的坐标系“{system}”，应为 {'、'.join(SYSTEMS)} 之一")
    shift_longitude, shift_latitude = _shift(longitude, latitude)
    longitude, latitude = longitude + shift_longitude, latitude + shift_latitude
    return (longitude, latitude) if system == "GCJ-02" else _gcj02_to_bd09(longitude, latitude)


def _shift(longitude, latitude):
    """GCJ-02 minus WGS-84, in degrees, at a place given in WGS-84."""
    x, y = longitude - 105.0, latitude - 35.0
    waves = 20 * np.sin(6 * x * np.pi) + 20 * np.sin(2 * x * np.pi)
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * np.sqrt(np.abs(x))
    north += (waves + 20 * np.sin(y * np.pi) + 40 * np.sin(y * np.pi / 3)) * 2 / 3
    north += (160 * np.sin(y * np.pi / 12) + 320 * np.sin(y * np.pi / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * np.sqrt(np.abs(x))
    east += (waves + 20 * np.sin(x * np.pi) + 40 * np.sin(x * np.pi / 3)) * 2 / 3
    east += (150 * np.sin(x * np.pi / 12) + 300 * np.sin(x * np.pi / 30)) * 2 / 3
    radians = np.radians(latitude)
    bulge = 1 - _ECCENTRICITY_SQUARED * np.sin(radians) ** 2
    meridian = _AXIS * (1 - _ECCENTRICITY_SQUARED) / bulge**1.5
    parallel = _AXIS / np.sqrt(bulge) * np.cos(radians)
    inside = (longitude >= 72.004) & (longitude <= 137.8347) & (latitude >= 0.8293) & (latitude <= 55.8271)
    return np.where(inside, np.degrees(east / parallel), 0.0), np.where(
        inside, np.degrees(north / meridian), 0.0
    )


def _gcj02_to_bd09(longitude, latitude):
    radius = np.hypot(longitude, latitude) + 2e-5 * np.sin(latitude * _BAIDU)
    angle = np.arctan2(latitude, longitude) + 3e-6 * np.cos(longitude * _BAIDU)
    return radius * np.cos(angle) + 0.0065, radius * np.sin(angle) + 0.006


def _bd09_to_gcj02(longitude, latitude):
    x, y = longitude - 0.0065, latitude - 0.006
    radius = np.hypot(x, y) - 2e-5 * np.sin(y * _BAIDU)
    angle = np.arctan2(y, x) - 3e-6 * np.cos(x * _BAIDU)
    return radius * np.cos(angle), radius * np.sin(angle)
