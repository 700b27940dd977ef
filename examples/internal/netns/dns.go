package netns

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is a DNS server that says what it is told to.
type Names struct {
	socket *net.UDPConn
	ended  chan struct{}

	mu    sync.Mutex
	known map[string][]netip.Addr
}

// ServeNames answers at port 53 of this network.
func ServeNames() (*Names, error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{Port: 53})
	if err != nil {
		return nil, err
	}
	n := &Names{socket: socket, ended: make(chan struct{}), known: map[string][]netip.Addr{}}
	go n.serve()
	return n, nil
}

// Say has a name, such as "backend.test", have these addresses from now on.
func (n *Names) Say(name string, addresses ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name+"."] = addresses
}

// Close ends the server.
func (n *Names) Close() {
	n.socket.Close()
	<-n.ended
}

func (n *Names) serve() {
	defer close(n.ended)
	for b := make([]byte, 1<<12); ; {
		size, from, err := n.socket.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:size]) != nil || len(m.Questions) != 1 {
			continue
		}
		if answer, err := n.answer(m); err == nil {
			_, _ = n.socket.WriteToUDPAddrPort(answer, from)
		}
	}
}

func (n *Names) answer(m dnsmessage.Message) ([]byte, error) {
	question := m.Questions[0]
	n.mu.Lock()
	addresses, is := n.known[question.Name.String()]
	n.mu.Unlock()
	m.Response, m.Additionals = true, nil
	if !is {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, a := range addresses {
		var body dnsmessage.ResourceBody
		switch {
		case question.Type == dnsmessage.TypeA && a.Is4():
			body = &dnsmessage.AResource{A: a.As4()}
		case question.Type == dnsmessage.TypeAAAA && a.Is6():
			body = &dnsmessage.AAAAResource{AAAA: a.As16()}
		default:
			continue
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET}, Body: body})
	}
	return m.Pack()
}
