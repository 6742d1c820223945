"""Addresses of one's own account: the only pages of the directory that are no resource's."""

from django.urls import path

from jingwei.directory import account, elsewhere

urlpatterns = [
    path("sign-in/", account.sign_in, name="sign-in"),
    path("sign-in/code/", account.sign_in_code, name="sign-in-code"),
    path("sign-in/with/<int:pk>/", elsewhere.sign_in, name="elsewhere"),
    path("sign-in/back/<int:pk>/", elsewhere.back, name="back"),
    path("register/", account.register, name="register"),
    path("sign-out/", account.sign_out, name="sign-out"),
    path("password/", account.password, name="password"),
    path("account/", account.account, name="account"),
    path("account/wechat/<int:pk>/", elsewhere.bind, name="bind"),
    path("account/wechat/<int:pk>/back/", elsewhere.bound, name="bound"),
    path("account/wechat/<int:pk>/unbind/", elsewhere.unbind, name="unbind"),
    path("second-factor/", account.second_factor, name="second-factor"),
    path("appointment/", account.appointment, name="appointment"),
]
