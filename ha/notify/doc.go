// Package notify carries alerts to people: by mail, to a webhook, to a program. They wait on disk until they could be delivered.
package notify
