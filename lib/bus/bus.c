// SPDX-License-Identifier: MIT
#include "bus_internal.h"

#include "../base/clock.h"

#define FIRST_TRY_MS 250	/* bus_open() waits this long for the first attempt to end, either way */

static void bus_free(struct bus *b)
{
	for (int i = 0; i < b->n_pipes; i++)
		pipe_release(&b->pipes[i]);
	free(b->pipes);
	bus_url_release(&b->url);
	pthread_mutex_destroy(&b->state_lock);
	free(b);
}

static struct timespec in_ms(int ms)
{
	int64_t at = mono_us() + (int64_t)ms * 1000;

	return (struct timespec){ .tv_sec = at / 1000000, .tv_nsec = at % 1000000 * 1000 };
}

/* So that the first calls of a process that finds Redis up do not fail. */
static void await_first_try(struct bus *b)
{
	struct publisher *pub = &b->pub;
	struct timespec until = in_ms(FIRST_TRY_MS);

	pthread_mutex_lock(&pub->lock);
	while (!pub->tried && !pthread_cond_timedwait(&pub->sent, &pub->lock, &until))
		;
	pthread_mutex_unlock(&pub->lock);
}

enum err bus_open(const struct bus_options *o, struct bus **out, struct error *e)
{
	struct bus *b = xcalloc(1, sizeof(*b));
	enum err err = bus_url_parse(o->url, &b->url, e);

	*out = NULL;
	if (err) {
		free(b);
		return err;
	}
	if (pthread_mutex_init(&b->state_lock, NULL))
		abort();
	b->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : BUS_TIMEOUT_MS;
	b->n_pipes = o->connections > 0 ? o->connections : 2;
	snprintf(b->proc_id, sizeof(b->proc_id), "%s", o->proc_id ? o->proc_id : "");
	b->pipes = xcalloc((size_t)b->n_pipes, sizeof(*b->pipes));
	for (int i = 0; i < b->n_pipes; i++)
		pipe_init(&b->pipes[i]);
	if (!publisher_start(b)) {
		bus_free(b);
		return error_set(e, ERR_INTERNAL, "no thread for the publisher");
	}
	await_first_try(b);
	*out = b;
	return OK;
}

void bus_close(struct bus *b)
{
	if (!b)
		return;
	publisher_stop(b);
	bus_free(b);
}

bool bus_up(const struct bus *b)
{
	return atomic_load_explicit(&b->up, memory_order_acquire);
}

void bus_trouble(struct bus *b, char out[BUS_TROUBLE])
{
	pthread_mutex_lock(&b->state_lock);
	snprintf(out, BUS_TROUBLE, "%s", b->why);
	pthread_mutex_unlock(&b->state_lock);
}

enum err bus_ping(struct bus *b, int64_t *latency_us)
{
	struct cmd c;
	int64_t from = mono_us();

	cmd_init(&c);
	cmd_begin(&c, 1, "PING");
	enum err err = bus_call_ok(b, &c);

	*latency_us = mono_us() - from;
	return err;
}

bool bus_drain(struct bus *b, int timeout_ms)
{
	struct publisher *pub = &b->pub;
	struct timespec until = in_ms(timeout_ms);
	bool late = false;

	pthread_mutex_lock(&pub->lock);
	int64_t last = pub->seq;
	int64_t dropped = pub->dropped;

	for (;;) {
		int64_t oldest = pub->oldest ? pub->oldest : pub->head ? pub->head->seq : last + 1;

		if (oldest > last || late)
			break;
		late = pthread_cond_timedwait(&pub->sent, &pub->lock, &until) != 0;
	}
	bool all = !late && pub->dropped == dropped;

	pthread_mutex_unlock(&pub->lock);
	return all;
}

void bus_stats(const struct bus *b, struct bus_stats *out)
{
	struct publisher *pub = &((struct bus *)b)->pub;

	pthread_mutex_lock(&pub->lock);
	out->backlog = pub->n_waiting + pub->n_flight;
	out->dropped = pub->dropped;
	out->posted = pub->seq;
	pthread_mutex_unlock(&pub->lock);
}
