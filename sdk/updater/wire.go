package updater

import (
	"context"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

// protocolVersion is raised when updater.proto changes incompatibly; agent and
// updater then serve several and go-plugin picks the newest both know.
const protocolVersion = 1

const (
	pluginName   = "updater"
	startTimeout = 30 * time.Second
	maxMessage   = 1 << 20 // bytes the agent accepts in one answer
)

// handshake keeps people from running an updater by hand; it is no secret.
var handshake = plugin.HandshakeConfig{MagicCookieKey: "TRANQUIL_UPDATER", MagicCookieValue: "agent"}

// wire tells go-plugin how to serve and how to reach an updater.
type wire struct {
	plugin.NetRPCUnsupportedPlugin
	server proto.UpdaterServer
}

func (w *wire) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterUpdaterServer(s, w.server)
	return nil
}

func (w *wire) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return proto.NewUpdaterClient(c), nil
}

func handleToProto(h Handle) *proto.Handle {
	if h.IsZero() {
		return nil
	}
	return &proto.Handle{Version: int64(h.Version), Data: h.Data}
}

func handleFromProto(h *proto.Handle) Handle {
	return Handle{Version: int(h.GetVersion()), Data: h.GetData()}
}
