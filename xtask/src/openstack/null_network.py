# neutron: every network card is bound, to nothing. There is no agent and no wire.
from neutron_lib.plugins.ml2 import api


class Null(api.MechanismDriver):
    def initialize(self):
        pass

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], "ovs", {}, status="ACTIVE")
            return
