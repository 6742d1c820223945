"""Jingwei 经纬: one platform for the people who run a Chinese county or district."""
