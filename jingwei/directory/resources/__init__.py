"""The directory on the desk: what the three administrators and the territorial managers look after."""

from jingwei.directory.resources.accounts import (
    AppointmentResource,
    MenuGrantResource,
    OperatorResource,
    RegistrationResource,
    RoleResource,
)
from jingwei.directory.resources.organisation import (
    CodeResource,
    DepartmentResource,
    OrganisationResource,
    PostResource,
    RegionChangeResource,
    RegionResource,
)
from jingwei.directory.resources.signing_in import (
    LockResource,
    ProviderResource,
    SessionResource,
)

RESOURCES = [
    OrganisationResource(),
    DepartmentResource(),
    PostResource(),
    OperatorResource(),
    RegistrationResource(),
    SessionResource(),
    LockResource(),
    AppointmentResource(),
    RoleResource(),
    RegionResource(),
    RegionChangeResource(),
    CodeResource(),
    MenuGrantResource(),
    ProviderResource(),
]
