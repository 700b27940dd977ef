package hub_test

import (
	"slices"
	"strings"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// TestOthersTopics has each kind of identity use each topic of each other one: nothing of it is granted, and whoever tries
// is cut off.
func TestOthersTopics(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	topics := map[string]string{"dev1": "devices/dev1", "dev10": "devices/dev10", "dev1/mod": "devices/dev1/modules/mod", "dev1/mod2": "devices/dev1/modules/mod2"}
	for _, id := range []string{"dev1", "dev10", "dev1/mod", "dev1/mod2"} {
		if status, body := h.rest(t, hub.PolicyOwner, "PUT", "/devices/"+strings.Replace(id, "/", "/modules/", 1), "", `{}`); status != 200 {
			t.Fatal(status, body)
		}
	}
	for id, own := range topics {
		t.Run(id, func(t *testing.T) {
			d := h.mustConnect(t, connection{id: id})
			d.subscribe(t, own+"/messages/devicebound/#")
			d.publish(t, own+"/messages/events/a=b", 1, "x")
			for other, topic := range topics {
				if other == id {
					continue
				}
				for _, filter := range []string{topic + "/messages/devicebound/#", topic + "/#", topic + "/messages/devicebound/+"} {
					token := d.Subscribe(filter, 0, nil).(*mqtt.SubscribeToken)
					if !token.WaitTimeout(patience) || token.Result()[filter] != 0x80 {
						t.Errorf("%s is granted: %v", filter, token.Result())
					}
				}
				stranger := h.mustConnect(t, connection{id: id})
				stranger.Publish(topic+"/messages/events/", 0, false, "x")
				stranger.expectLost(t)
				will := h.willing(t, id, topic+"/messages/events/")
				if will {
					t.Errorf("a will for %s is taken", other)
				}
				d = h.mustConnect(t, connection{id: id})
			}
		})
	}
	if err := h.owner.DeleteDevice(t.Context(), "dev10"); err != nil { // the last event
		t.Fatal(err)
	}
	told := map[string]int{}
	for event := range h.follow(t, "", "") {
		if event.Type == iothub.EventTelemetry {
			told[strings.TrimSuffix(event.Device+"/"+event.Module, "/")]++
		}
		if event.Type == iothub.EventDeviceDeleted {
			break
		}
	}
	if diff := cmp.Diff(map[string]int{"dev1": 1, "dev10": 1, "dev1/mod": 1, "dev1/mod2": 1}, told); diff != "" {
		t.Error(diff)
	}
}

// willing tells whether a device may connect with a will for a topic.
func (r *running) willing(t *testing.T, id, topic string) bool {
	t.Helper()
	options := mqtt.NewClientOptions().AddBroker("mqtt://"+r.MQTTAddr()).SetClientID(id).SetUsername(iothub.Username("h", id)).
		SetPassword(r.gatewayToken(t)).SetProtocolVersion(4).SetAutoReconnect(false).SetWill(topic, "x", 0, false)
	client := mqtt.NewClient(options)
	defer client.Disconnect(0)
	token := client.Connect()
	if !token.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	return token.Error() == nil
}

// TestRoutes asks for each route with each policy, and without one.
func TestRoutes(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	const (
		service = hub.PolicyService
		read    = hub.PolicyRegistryRead
		write   = hub.PolicyRegistryReadWrite
	)
	policies := []string{hub.PolicyOwner, service, read, write, hub.PolicyDevice}
	for _, policy := range []string{read, write, hub.PolicyDevice} { // for the others the stream would not end
		if status, body := h.rest(t, policy, "GET", "/api/v1/events", "", ""); status != 401 {
			t.Errorf("events with %s: %d %s", policy, status, body)
		}
	}
	for route, allowed := range map[string][]string{
		"GET /devices":                                      {read, write},
		"GET /devices/":                                     {read, write},
		"POST /devices":                                     {write},
		"POST /devices/":                                    {write},
		"GET /devices/dev1":                                 {read, write},
		"PUT /devices/dev1":                                 {write},
		"DELETE /devices/none":                              {write},
		"GET /devices/dev1/modules":                         {read, write},
		"GET /devices/dev1/modules/m":                       {read, write},
		"PUT /devices/dev1/modules/m":                       {write},
		"DELETE /devices/dev1/modules/m":                    {write},
		"POST /devices/dev1/messages/deviceBound":           {service},
		"POST /devices/dev1/modules/m/messages/deviceBound": {service},
		"DELETE /devices/dev1/commands":                     {service},
		"POST /devices/query":                               {service},
		"POST /devices/dev1/applyConfigurationContent":      {},
		"GET /messages/serviceBound/feedback":               {service},
		"DELETE /messages/serviceBound/feedback/x":          {service},
		"POST /messages/serviceBound/feedback/x/abandon":    {service},
		"GET /statistics/devices":                           {read, write},
		"GET /statistics/service":                           {service},
		"GET /api/v1/history/dev1":                          {service},
		"GET /twins/dev1":                                   {service},
		"PATCH /twins/dev1":                                 {service},
		"PUT /twins/dev1":                                   {service},
		"POST /twins/dev1/methods":                          {service},
		"GET /twins/dev1/modules/m":                         {service},
		"PATCH /twins/dev1/modules/m":                       {service},
		"PUT /twins/dev1/modules/m":                         {service},
		"POST /twins/dev1/modules/m/methods":                {service},
		"GET /jobs/v2/query":                                {service},
		"GET /jobs/v2/j":                                    {service},
		"PUT /jobs/v2/j":                                    {service},
		"POST /jobs/v2/j/cancel":                            {service},
		"GET /configurations":                               {read, write},
		"GET /configurations/c":                             {read, write},
		"PUT /configurations/c":                             {},
		"DELETE /configurations/c":                          {},
		"POST /configurations/testQueries":                  {read, write},
	} {
		verb, path, _ := strings.Cut(route, " ")
		for _, policy := range policies {
			may := policy == hub.PolicyOwner || slices.Contains(allowed, policy)
			status, body := h.rest(t, policy, verb, path+"?api-version=2021-04-12", "", "{")
			if refused := status == 401 && strings.Contains(body, "ErrorCode:IotHubUnauthorizedAccess;"); refused == may || status == 404 && strings.Contains(body, "page not found") {
				t.Errorf("%s with %s: %d %s", route, policy, status, body)
			}
		}
		headers := map[string]string{"Authorization": "SharedAccessSignature sr=h&sig=AAAA&se=99999999999&skn=iothubowner"}
		if status, _, _ := h.exchange(t, hub.PolicyOwner, verb, path, headers, "{"); status != 401 {
			t.Errorf("%s with a forged token: %d", route, status)
		}
	}
}
