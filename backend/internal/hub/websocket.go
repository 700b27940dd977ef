package hub

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// serveWebSocket takes a device that speaks MQTT over WebSocket (MQTT 3.1.1, section 6). Whoever it is says the CONNECT in
// it, so pages of any origin may open one: a browser adds nothing of its own that would let them in.
func (h *Hub) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true})
	if err != nil {
		h.log.Debug("no WebSocket", "remote", r.RemoteAddr, "error", err)
		return
	}
	if socket.Subprotocol() != "mqtt" {
		socket.Close(websocket.StatusPolicyViolation, "the subprotocol is mqtt")
		return
	}
	conn := &webSocket{Conn: websocket.NetConn(context.Background(), socket, websocket.MessageBinary), socket: socket, closed: make(chan struct{})}
	if conn.leave, _ = r.Context().Value(leaving{}).(func()); conn.leave == nil {
		conn.leave = func() {}
	}
	select {
	case h.sockets <- conn:
		<-conn.closed // the request lasts as long
	case <-r.Context().Done():
		conn.Close()
	}
}

// webSocket tells when it is closed, and closes without waiting for the peer.
type webSocket struct {
	net.Conn
	socket *websocket.Conn
	leave  func() // the crowd of the back end's connections
	closed chan struct{}
	once   sync.Once
}

func (s *webSocket) Close() error {
	defer s.once.Do(func() { close(s.closed) })
	return errors.Join(s.socket.CloseNow(), s.Conn.Close())
}
