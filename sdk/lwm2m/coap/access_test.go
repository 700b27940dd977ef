package coap_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// owner and guest are the short ids of two servers.
const owner, guest = 101, 102

// shared starts a device with two servers, each with a client of its own; they share
// a component.
func shared(t *testing.T, access *lwm2m.AccessControl, o lwm2m.Object) (byOwner, byGuest *lwm2m.Device) {
	t.Helper()
	var mu sync.Mutex
	var clients []*lwm2m.Client
	var remotes []*lwm2m.Device
	access.OnChange = func(p lwm2m.Path) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range clients {
			c.Changed(p)
		}
	}
	for _, id := range []uint16{owner, guest} {
		s := startServer(t, "127.0.0.1:0")
		d := startDevice(t, s.address, func(c *lwm2m.ClientConfig) { c.ShortID, c.Objects = id, access.For(id, o) })
		mu.Lock()
		clients = append(clients, d.Client)
		mu.Unlock()
		remotes = append(remotes, s.event(t, lwm2m.Registered).Device)
	}
	return remotes[0], remotes[1]
}

func TestAccessControl(t *testing.T) {
	ctx, access := deadline(t), new(lwm2m.AccessControl)
	m := objects.NewMemory(objects.ComponentUpdate)
	m.OnExecute = func(context.Context, lwm2m.Path, string) error { return nil }
	hidden := lwm2m.NewPath(objects.ComponentUpdateID, 1)
	for _, p := range []lwm2m.Path{component, hidden} {
		m.SetValue(p.Instance(), objects.ComponentName, lwm2m.String("application/a"))
		m.SetValue(p.Instance(), objects.ComponentWanted, lwm2m.String(""))
	}
	access.Control(component, owner, map[uint16]lwm2m.Rights{guest: lwm2m.CanRead}) // /2/0
	access.Control(hidden, owner, nil)                                              // /2/1
	byOwner, byGuest := shared(t, access, m)
	write := func(d *lwm2m.Device, p lwm2m.Path, v string) error {
		p = p.Child(objects.ComponentWanted)
		return d.Write(ctx, p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: lwm2m.String(v)}})
	}
	var box inbox
	if _, err := byGuest.Observe(ctx, wanted, box.put); err != nil {
		t.Fatal("who may read may observe:", err)
	}
	if err := write(byOwner, component, "2.0.0"); err != nil {
		t.Fatal("the owner writes:", err)
	}
	box.await(t, wanted, lwm2m.String("2.0.0")) // by the other server
	wantCode(t, "a guest writes", write(byGuest, component, "3.0.0"), lwm2m.CodeUnauthorized)
	wantCode(t, "a guest executes", byGuest.Execute(ctx, component.Child(objects.ComponentCheckNow), ""), lwm2m.CodeUnauthorized)
	_, err := byGuest.Read(ctx, hidden)
	wantCode(t, "a guest reads what it may not", err, lwm2m.CodeUnauthorized)
	wantCode(t, "a guest writes more than it may", byGuest.WriteComposite(ctx, []lwm2m.Record{
		{Path: wanted, Value: lwm2m.String("3.0.0")}, {Path: hidden.Child(objects.ComponentWanted), Value: lwm2m.String("3.0.0")},
	}), lwm2m.CodeUnauthorized)
	records, err := byGuest.Read(ctx, component.Prefix(lwm2m.DepthObject))
	if got := strings.Join(words(records), " "); err != nil || !strings.Contains(got, "/26250/0/0") || strings.Contains(got, "/26250/1") {
		t.Errorf("a guest reads the object: %v, %v", got, err)
	}
	acl := lwm2m.NewPath(2, 0, 2, guest)
	more := []lwm2m.Record{{Path: acl, Value: lwm2m.Int(int64(lwm2m.CanRead | lwm2m.CanWrite))}}
	wantCode(t, "a guest gives itself rights", byGuest.Write(ctx, acl.Prefix(lwm2m.DepthResource), lwm2m.Update, more), lwm2m.CodeUnauthorized)
	if err := byOwner.Write(ctx, acl.Prefix(lwm2m.DepthResource), lwm2m.Update, more); err != nil {
		t.Fatal("the owner gives rights:", err)
	}
	if err := write(byGuest, component, "3.0.0"); err != nil || m.Value(wanted).Text() != "3.0.0" {
		t.Errorf("a guest writes what it now may: %v", err)
	}
	if got := readOne(t, byGuest, acl); got.Int() != int64(lwm2m.CanRead|lwm2m.CanWrite) {
		t.Errorf("the ACL reads %v", got)
	}
	if got := readOne(t, byGuest, lwm2m.NewPath(1, 0, 0)); got.Int() != guest {
		t.Errorf("the guest is known as %v", got)
	}
}

// TestAccessToInstances: who creates an instance owns it.
func TestAccessToInstances(t *testing.T) {
	ctx, access := deadline(t), new(lwm2m.AccessControl)
	object := lwm2m.NewPath(objects.TemperatureID)
	access.Control(object, 0, map[uint16]lwm2m.Rights{owner: lwm2m.CanCreate})
	byOwner, byGuest := shared(t, access, objects.NewInstances(objects.SensorDefinition(objects.TemperatureID)))
	values := []lwm2m.Record{{Path: object.Child(4).Child(objects.SensorApplication), Value: lwm2m.String("a")}}
	_, err := byGuest.Create(ctx, object.Child(4), values)
	wantCode(t, "a guest creates", err, lwm2m.CodeUnauthorized)
	p, err := byOwner.Create(ctx, object.Child(4), values)
	if err != nil {
		t.Fatal(err)
	}
	_, err = byGuest.Read(ctx, p)
	wantCode(t, "a guest reads what another server has made", err, lwm2m.CodeUnauthorized)
	wantCode(t, "a guest deletes it", byGuest.Delete(ctx, p), lwm2m.CodeUnauthorized)
	if err := byOwner.Delete(ctx, p); err != nil {
		t.Fatal(err)
	}
	records, err := byOwner.Read(ctx, lwm2m.NewPath(2))
	if err != nil || len(records) != 4 { // the right to create, and nothing else
		t.Errorf("object 2 after the deletion: %v, %v", words(records), err)
	}
}
