"""Addresses of one's own account: the only pages of the directory that are no resource's."""

from django.urls import path

from jingwei.directory import account

urlpatterns = [
    path("sign-in/", account.sign_in, name="sign-in"),
    path("register/", account.register, name="register"),
    path("sign-out/", account.sign_out, name="sign-out"),
    path("password/", account.password, name="password"),
    path("appointment/", account.appointment, name="appointment"),
]
