//! The cases by group, as tests.

/// Makes one test of each case in the groups named.
///
/// `driver_suite!(Fixture; streams, resets, listening, descriptors)`: see
/// [the module](crate::driver) for what the groups ask of the fixture.
#[macro_export]
macro_rules! driver_suite {
    ($fixture:ty; $($group:ident),+ $(,)?) => {
        $( $crate::driver_suite!(@$group $fixture); )+
    };
    (@streams $fixture:ty) => {
        $crate::driver_suite! { @tests $fixture;
            names:
                stale_keys_do_nothing,
                keys_outlive_the_end_but_not_the_release,
                slots_are_reused_while_events_wait,
                keys_keep_their_bits,
                keys_out_of_bounds_are_refused;
            order:
                bytes_arrive_exactly_both_ways,
                bytes_arrive_exactly_through_small_buffers,
                data_and_end_together,
                end_while_paused,
                pause_between_bytes_and_end,
                half_closed_peer_is_still_sent_to,
                peer_goes_away_while_a_send_is_pending,
                sending_to_a_peer_that_has_gone_fails_once;
            receiving:
                full_buffers_hide_nothing,
                delivered_bytes_may_be_changed,
                bytes_from_before_adoption_are_delivered;
            sending:
                what_fits_is_done_at_once,
                sending_nothing_is_harmless,
                a_slow_reader_holds_a_send_up,
                a_little_progress_shows,
                a_send_completed_by_asking_is_reported_once,
                gathered_slices_arrive_in_order,
                large_slices_arrive,
                slices_are_shared_between_sockets,
                buffers_are_not_reused_before_they_are_sent,
                released_with_a_send_pending,
                receiving_goes_on_while_a_send_is_pending;
            back_pressure:
                a_paused_socket_holds_its_sender_up,
                pausing_and_resuming_over_and_over,
                a_pause_takes_hold_of_leftovers,
                a_paused_socket_lets_the_driver_park,
                a_pending_send_behind_an_end_lets_the_driver_park,
                pausing_is_idempotent;
            fairness:
                a_flood_does_not_hold_others_up,
                leftovers_are_delivered_without_an_event,
                floods_share,
                a_wait_delivers_a_bounded_amount;
            waking:
                a_wake_before_the_wait_is_reported,
                nobody_is_woken_uncalled,
                a_wake_ends_a_wait_without_timeout,
                a_wake_while_woken_is_reported,
                no_wake_is_lost,
                every_wake_meets_a_parking_driver,
                wakes_leave_bytes_alone,
                timeouts_are_kept,
                the_loop_turns_and_stops;
            closing:
                close_delivers_what_was_sent,
                close_delivers_to_a_slow_reader,
                what_is_done_arrives_whatever_follows,
                finish_waits_for_what_is_done,
                close_over_undelivered_bytes_delivers_what_was_sent,
                finish_ends_our_side_only,
                finish_waits_for_a_pending_send,
                both_sides_end,
                dropping_the_driver_closes;
            detaching:
                undelivered_bytes_go_along,
                a_pending_send_holds_a_socket,
                a_detached_socket_can_come_back,
                each_detached_socket_has_its_own_bytes;
        }
    };
    (@resets $fixture:ty) => {
        $crate::driver_suite! { @tests $fixture;
            closing:
                abort_resets,
                abort_resets_an_idle_connection;
            resets:
                reset_follows_the_bytes_before_it,
                reset_amid_a_flood,
                reset_while_a_send_is_pending,
                reset_while_paused,
                reset_while_paused_with_a_send_pending,
                reset_found_by_a_send,
                reset_found_by_asking,
                failures_die_with_their_socket,
                a_failed_slot_is_free;
        }
    };
    (@urgency $fixture:ty) => {
        $crate::driver_suite! { @tests $fixture;
            urgency:
                urgent_data_hides_nothing;
        }
    };
    (@listening $fixture:ty) => {
        $crate::driver_suite! { @tests $fixture;
            accepting:
                several_listeners,
                many_connections_at_once,
                a_listener_shut_down_elsewhere_is_let_go,
                stopping_refuses_newcomers,
                stopping_turns_away_who_waits;
        }
    };
    (@descriptors $fixture:ty) => {
        $crate::driver_suite! { @alone $fixture;
            accepting_survives_a_lack_of_descriptors,
            a_newcomer_during_the_rest_is_let_in,
            all_newcomers_are_answered,
            a_lack_from_the_start_is_survived
        }
    };
    (@tests $fixture:ty; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::driver::$module::$case::<$fixture>();
            }
        )+)+
    };
    (@alone $fixture:ty; $($case:ident),+) => {
        $(
            #[test]
            fn $case() {
                let test = concat!(module_path!(), "::", stringify!($case));
                $crate::driver::exhaustion::$case::<$fixture>(test);
            }
        )+
    };
}
