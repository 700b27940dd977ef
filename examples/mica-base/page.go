package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// page passes a container's own web pages on, as the Base OS does: those at port 80
// of the container's network.
func (b *base) page(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("container")
	if _, err := b.container(name); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	pid, err := b.lxc(r.Context(), "lxc-info", name, "-p", "-H")
	if err != nil {
		http.Error(w, "it does not run", http.StatusBadGateway)
		return
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:80"})
	proxy.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
		return dialFrom(pid, address)
	}}
	r.URL.Path = "/" + strings.TrimPrefix(r.PathValue("page"), "/")
	proxy.ServeHTTP(w, r)
}

// dialFrom connects in the network of a process. The thread ends with it.
func dialFrom(pid, address string) (net.Conn, error) {
	type result struct {
		net.Conn
		error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		network, err := os.Open(fmt.Sprintf("/proc/%s/ns/net", pid))
		if err == nil {
			defer network.Close()
			err = unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		c, err := net.Dial("tcp", address)
		done <- result{c, err}
	}()
	r := <-done
	return r.Conn, r.error
}
