package race;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * JSON in, 24 fading sums a session in a store with a changelog, one record out per 100 events; one thread.
 *
 * <p>Arguments: broker, topic in, topic out, application id, "memory" or "rocksdb", state directory.
 */
public final class Race {
    static final double[] HALF_LIVES_MS = {60_000, 600_000, 3_600_000};
    static final int MARKS = 8;
    static final String STORE = "sums";

    private Race() {}

    public static void main(String[] args) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[5]);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        KeyValueBytesStoreSupplier store =
                args[4].equals("memory") ? Stores.inMemoryKeyValueStore(STORE) : Stores.persistentKeyValueStore(STORE);
        Topology topology = new Topology();
        topology.addSource("in", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), args[1]);
        topology.addProcessor("fade", Fade::new, "in");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(store, Serdes.String(), Serdes.ByteArray()).withCachingEnabled(), "fade");
        topology.addSink("out", args[2], Serdes.String().serializer(), Serdes.ByteArray().serializer(), "fade");
        KafkaStreams streams = new KafkaStreams(topology, config);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    /** Brings a session's sums up to each of its events. */
    static final class Fade implements Processor<String, byte[], String, byte[]> {
        private final ObjectMapper json = new ObjectMapper();
        private final double[] added = new double[MARKS];
        private ProcessorContext<String, byte[]> context;
        private KeyValueStore<String, byte[]> sums;
        private long seen;

        @Override
        public void init(ProcessorContext<String, byte[]> given) {
            context = given;
            sums = given.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, byte[]> record) {
            JsonNode event = read(record.value());
            byte[] row = sums.get(record.key());
            if (row == null) {
                row = new byte[8 * (1 + MARKS * HALF_LIVES_MS.length)];
            }
            fade(ByteBuffer.wrap(row), event);
            sums.put(record.key(), row);
            if (++seen % 100 == 0) {
                context.forward(record.withValue(row));
            }
        }

        private JsonNode read(byte[] value) {
            try {
                return json.readTree(value);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }

        private void fade(ByteBuffer row, JsonNode event) {
            marks(event);
            long at = event.get("occurred_at").asLong();
            long before = row.getLong(0);
            long newest = Math.max(at, before);
            row.putLong(0, newest);
            for (int half = 0; half < HALF_LIVES_MS.length; half++) {
                double left = Math.pow(0.5, (newest - before) / HALF_LIVES_MS[half]);
                double counts = Math.pow(0.5, (newest - at) / HALF_LIVES_MS[half]);
                for (int mark = 0; mark < MARKS; mark++) {
                    int place = 8 * (1 + half * MARKS + mark);
                    row.putDouble(place, row.getDouble(place) * left + added[mark] * counts);
                }
            }
        }

        private void marks(JsonNode event) {
            int status = event.get("status").asInt();
            double records = event.path("records").asDouble(0);
            boolean sensitive = event.path("sensitivity").asText("").equals("confidential");
            added[0] = 1;
            added[1] = status >= 400 ? 1 : 0;
            added[2] = status == 401 || status == 403 ? 1 : 0;
            added[3] = event.path("bytes_out").asDouble(0);
            added[4] = records;
            added[5] = sensitive ? records : 0;
            added[6] = event.path("method").asText("GET").equals("GET") ? 0 : 1;
            added[7] = event.path("latency_ms").asDouble(0);
        }
    }
}
